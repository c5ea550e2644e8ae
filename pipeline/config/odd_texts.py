"""Texts and numbers damaged by a spreadsheet or a word processor: detection, and the likely
original."""

import re
from contextlib import suppress
from decimal import Decimal
from typing import Final

from pipeline.config.dates import day
from pipeline.model.time import DAY_MS

_INVISIBLE_CHARACTER: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_INVISIBLE_IN_NAMES: Final = re.compile(
    "[\x00-\x1f\x7f\xa0\xad\u200b-\u200f\u2028-\u202f\u2060\ufeff]"
)
_LOST_LETTER: Final = "\ufffd"
_SPREADSHEET_ERROR: Final = re.compile(
    r"#(N/A|REF!|VALUE!|DIV/0!|NAME\?|NULL!|NUM!|SPILL!|CALC!|GETTING_DATA)"
)
ROUNDED_NUMBER: Final = re.compile(r"[0-9]([.,][0-9]+)?E\+[0-9]{2,3}")
"""Long number as spreadsheets show it: `8.41E+12`."""

FORMULA_START: Final = '="'
"""Beginning of a text that a spreadsheet must not take for a number."""

_SIGN_OF_WRONG_ENCODING: Final = re.compile("[ÂÃâ]")

_MONEY_SIGN: Final = re.compile(r"[€$£¥]|\b[A-Z]{3}\b")
_PLAIN_NUMBER: Final = re.compile(r"-?\d+(\.\d+)?")
_DECIMAL_COMMA: Final = re.compile(
    r"-?(\d+|\d{1,3}([. '\u2019\xa0\u202f]\d{3})+),(\d{1,2}|\d{4,})|-?0,\d+"
)
_GROUPED_BY_COMMA: Final = re.compile(r"-?\d{1,3}(,\d{3})+\.\d+|-?\d{1,3}(,\d{3}){2,}")
_GROUPED_BY_SPACE: Final = re.compile(r"-?\d{1,3}([ '\u2019\xa0\u202f]\d{3})+(\.\d+)?")
_GROUPED_BY_POINT: Final = re.compile(r"-?\d{1,3}(\.\d{3}){2,}")
_AMBIGUOUS_AMOUNT: Final = re.compile(r"[1-9]\d{0,2}\.\d{3}")
_DAYS_BEFORE_1970: Final = 25_569
_SERIALS: Final = range(20_000, 80_000)
"""Days since 1899-12-30, as spreadsheets count them, of 1954 to 2119."""


def text_fault(text: str) -> str | None:
    """Return the fault of a text for customers, with the remedy; None without a fault."""
    invisible_character = _INVISIBLE_CHARACTER.search(text)
    if invisible_character is not None:
        return f"an invisible character ({code_point(invisible_character[0])}): remove it"
    if _LOST_LETTER in text:
        return "a letter was lost (\ufffd): save it as UTF-8 where it comes from"
    if _SPREADSHEET_ERROR.fullmatch(text):
        return f"{text} is an error of the spreadsheet: fix its formula"
    if _SIGN_OF_WRONG_ENCODING.search(text):
        for encoding in ("latin-1", "cp1252"):
            with suppress(UnicodeError):
                original = text.encode(encoding).decode()
                if original != text:
                    return f"{text[:40]!r} was most likely {original[:40]!r}: save it as UTF-8"
    return None


def id_fault(text: str) -> str | None:
    """Return the fault of an identifier in a cell, with the remedy; None without a fault."""
    invisible_character = invisible_character_in_name(text)
    if invisible_character is not None:
        return f"{text[:40]!r} has an invisible character ({invisible_character}): remove it"
    if ROUNDED_NUMBER.fullmatch(text):
        return f"{text!r} is a number that a spreadsheet shortened: format the column as text"
    if text.startswith((FORMULA_START, "'")):
        return f"{text[:40]!r} is written for a spreadsheet: write the id alone"
    return text_fault(text)


def invisible_character_in_name(text: str) -> str | None:
    """Return the code of an invisible character in a name; None without one."""
    match = _INVISIBLE_IN_NAMES.search(text)
    return None if match is None else code_point(match[0])


def odd_space(line: str) -> str | None:
    """Return the code of a character in a line that looks like a space, or is invisible; None
    without one."""
    return invisible_character_in_name(line.replace("\t", " ").rstrip("\r\n"))


def code_point(character: str) -> str:
    """Return the code point of a character, such as U+00A0."""
    return f"U+{ord(character):04X}"


def number_remedy(text: str) -> str:
    """Return the remedy for a number in another notation (`1.234,50 €`, `5 %`)."""
    number_text = _MONEY_SIGN.sub("", text).strip().replace("\u2212", "-")
    is_percentage = number_text.endswith("%")
    number = _likely_number(number_text.rstrip("% \xa0\u202f"))
    if number is None:
        return "write 1234.50"
    if is_percentage:
        return f"write {number / 100:f} for {text.strip()}"
    unit = ", without its unit" if _MONEY_SIGN.search(text) else ""
    return f"write {number:f}{unit}"


def _likely_number(text: str) -> Decimal | None:
    if _PLAIN_NUMBER.fullmatch(text):
        return Decimal(text)
    if _DECIMAL_COMMA.fullmatch(text):
        return Decimal(re.sub(r"[^\d,-]", "", text).replace(",", "."))
    if _GROUPED_BY_COMMA.fullmatch(text) or _GROUPED_BY_SPACE.fullmatch(text):
        return Decimal(re.sub(r"[^\d.-]", "", text))
    if _GROUPED_BY_POINT.fullmatch(text):
        return Decimal(text.replace(".", ""))
    return None


def ambiguous_amount_remedy(text: str) -> str | None:
    """Return the remedy for an ambiguous amount such as `1.000`, either one or a thousand; None for
    any other."""
    if not _AMBIGUOUS_AMOUNT.fullmatch(text):
        return None
    return f"write {text.replace('.', '')}, or {text}0"


def serial_date(number: float) -> str | None:
    """Return the date for a spreadsheet's number of days; None for a fraction, or outside of 1954
    to 2119."""
    if not float(number).is_integer() or int(number) not in _SERIALS:
        return None
    return day((int(number) - _DAYS_BEFORE_1970) * DAY_MS)
