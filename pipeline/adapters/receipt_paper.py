"""Receipts on paper: lines of a given width, and the commands of receipt printers (ESC/POS).

The commands are those that every ESC/POS printer supports, by Epson's reference: initialise, code
page 858 (Western Europe with the euro sign), justification, emphasis, QR code, feed and cut.
"""

import textwrap
import unicodedata
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from pipeline.adapters.coupon_codes import format_code

_CODE_PAGE: Final = "cp858"
_INITIALISE: Final = b"\x1b@"
_SELECT_CODE_PAGE: Final = b"\x1bt\x13"
_ALIGN_LEFT: Final = b"\x1ba\x00"
_ALIGN_CENTRE: Final = b"\x1ba\x01"
_BOLD_ON: Final = b"\x1bE\x01"
_BOLD_OFF: Final = b"\x1bE\x00"
_FEED_AND_CUT: Final = b"\x1dVB\x03"
_QR: Final = b"\x1d(k"
_QR_MODEL: Final = _QR + b"\x04\x001A2\x00"
_QR_SIZE: Final = _QR + b"\x03\x001C\x06"
_QR_CORRECTION: Final = _QR + b"\x03\x001E1"
_QR_PRINT: Final = _QR + b"\x03\x001Q0"


class PaperReceipt(Struct, frozen=True):
    """Parts of a receipt; `code` is a coupon's."""

    title: str
    text: str
    offer: str
    code: str | None


def paper_receipt(content: Mapping[str, str], code: str | None) -> PaperReceipt:
    """Return the parts of a treatment's content: `title`, `text`, and `coupon` with its code."""
    return PaperReceipt(
        title=content.get("title", ""),
        text=content.get("text", ""),
        offer=content.get("coupon", ""),
        code=code,
    )


def format_lines(receipt: PaperReceipt, width: int) -> list[str]:
    """Return lines of at most `width` printable characters."""
    lines = [line.center(width).rstrip() for line in _wrap(receipt.title, width)]
    lines += [line for part in receipt.text.splitlines() for line in _wrap(part, width) or [""]]
    if receipt.code is not None:
        lines += ["", *(line.center(width).rstrip() for line in _wrap(receipt.offer, width))]
        lines.append(format_code(receipt.code).center(width).rstrip())
    return lines


def encode_escpos(receipt: PaperReceipt, width: int) -> bytes:
    """Return the bytes for a printer with `width` characters per line."""
    parts = [_INITIALISE, _SELECT_CODE_PAGE]
    if receipt.title:
        parts += [_ALIGN_CENTRE, _BOLD_ON, _encode(_wrap(receipt.title, width)), _BOLD_OFF]
    body = [line for part in receipt.text.splitlines() for line in _wrap(part, width) or [""]]
    parts += [_ALIGN_LEFT, _encode(body)]
    if receipt.code is not None:
        code = receipt.code.encode("ascii")
        store_command = _QR + (len(code) + 3).to_bytes(2, "little") + b"1P0" + code
        parts += [b"\n", _ALIGN_CENTRE, _encode(_wrap(receipt.offer, width))]
        parts += [_QR_MODEL, _QR_SIZE, _QR_CORRECTION, store_command, _QR_PRINT]
        parts += [_BOLD_ON, _encode([format_code(receipt.code)]), _BOLD_OFF, _ALIGN_LEFT]
    return b"".join([*parts, _FEED_AND_CUT])


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(_replace_unprintable(text), width)


def _encode(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode(_CODE_PAGE)


def _replace_unprintable(text: str) -> str:
    """Replace characters that the code page lacks by their base letter, or by ?; drop control
    characters."""
    return "".join(map(_replacement, text))


def _replacement(character: str) -> str:
    if character.isspace():
        return " "
    if not character.isprintable():
        return ""
    for form in (character, unicodedata.normalize("NFKD", character)):
        printable = form.encode(_CODE_PAGE, errors="ignore").decode(_CODE_PAGE)
        if printable and printable.isprintable():
            return printable
    return "?"
