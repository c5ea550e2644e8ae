"""Footers of CSV files: totals, counts and end marks below the last row.

Unless it is configured, a footer is recognised by the key cells (identifiers, the row's id) of a
last row: they hold a word such as `Total`, or a sentence. Because a customer may have such a name,
a row with a word alone and with texts in its other cells is a footer only if the rows above differ:
all their keys are codes, or none of them has so few filled cells. A row like a footer
that has other rows below it is an ordinary row.
"""

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.config.regex import Pattern

MAX_LINES: Final = 16
"""Maximum of lines of a footer; a longer end contains rows."""

_WORDS: Final = (
    r"(?:(?:grand|sub|report|file|suma|gesamt)[ -]?)?"
    r"(?:totals?|totales|totale|total general|total global|sums?|suma|summe|somme|soma"
    r"|insgesamt|gesamt|eof|trailer)"
)
_UNITS: Final = (
    r"(?:rows?|records?|lines?|entries|customers?|filas?|registros?|l[ií]neas?|clientes?"
    r"|zeilen?|datens[aä]tze?|kunden|lignes?|enregistrements?|righe|linhas?)"
)
_PARTICIPLES: Final = (
    r"(?:affected|selected|exported|found|total|in total|en total|gesamt|exportad[oa]s)"
)
_FILE: Final = (
    r"(?:file|report|data|list|export|fichero|archivo|informe|listado|lista|datei|liste|fichier"
    r"|rapport|documento?)"
)
_NUMBER: Final = r"[-+]?[0-9][0-9.,' \u00a0\u202f]*"
_CURRENCY: Final = r"(?:[A-Z]{3}|\W)?"

_WORD: Final = re.compile(rf"\W*{_WORDS}(?: (?:\w+ )?{_UNITS})?\W*", re.IGNORECASE)
"""Total; Total rows"""

_PHRASE: Final = re.compile(
    rf"\W*{_WORDS}(?: \w+){{0,3}} ?[:=] ?{_NUMBER}{_CURRENCY}\W*"
    rf"|\W*{_WORDS} (?:\w+ )?{_UNITS} {_NUMBER}\W*"
    rf"|\W*{_UNITS}(?: \w+){{0,2}} ?[:=] ?{_NUMBER}\W*"
    rf"|\W*{_NUMBER} {_UNITS}(?: {_PARTICIPLES})?\W*"
    rf"|[\W_]*(?:end|fin|fine|fim|ende) (?:of|del?|du|der|do|d[ie]) (?:\w+ )?{_FILE}[\W_]*",
    re.IGNORECASE,
)
"""Total: 1; Total rows 7; Rows: 7; (3 rows affected); *** END OF FILE ***"""

_match_beginning: Final = re.compile(
    rf"[\W_]*(?:total|grand|sub|report|file|sum|gesamt|insgesamt|som|eof|trailer|{_UNITS})",
    re.IGNORECASE,
).match
"""Quick pre-check of a cell without a space, which must not miss any footer."""

_PLAIN_NUMBER: Final = re.compile(_NUMBER)
_LETTER: Final = re.compile(r"[^\W\d_]")
_AMOUNT: Final = re.compile(rf"(?:[A-Z]{{3}} ?)?{_NUMBER} ?(?:[A-Z]{{3}})?")
"""12; EUR 1,234.50; 12 USD"""

_CODE: Final = re.compile(r"[0-9@]")
_MIN_SENTENCE_WORDS: Final = 3
_SAMPLE_SIZE: Final = 1_000
"""Number of rows after which the form of keys is known."""

_MAX_CELL_LENGTH: Final = 200
"""Maximum of characters of a footer's cell."""


@dataclass(slots=True)
class FooterRule:
    """Recognition of the footer of one file, by the rows before it.

    `key_indexes`: indexes of the cells with identifiers and the row's id; `column_count`: number of
    the table's columns; `line_pattern`: configured pattern of a footer's lines; None: footers are
    recognised by their words. `row_count`: number of rows so far.
    """

    key_indexes: Sequence[int]
    column_count: int
    line_pattern: Pattern | None = None
    row_count: int = 0
    is_ambiguous: bool = False
    """Whether rows that look like a footer are among the other rows."""

    _has_codes_only: bool = True
    """Whether each key so far has a digit or an @ in it."""
    _has_spaces: bool = False
    """Whether a key so far has a space in it."""
    _fewest_cells: int = sys.maxsize
    """Fewest cells that a row so far has filled."""

    def add(self, cells: Sequence[str]) -> None:
        """Record the form of a row's keys; rows beyond the first `_SAMPLE_SIZE` only count."""
        self.row_count += 1
        if self.row_count > _SAMPLE_SIZE:
            return
        self._fewest_cells = min(self._fewest_cells, sum(map(bool, cells)))
        for key in self._key_cells(cells):
            self._has_codes_only = self._has_codes_only and _CODE.search(key) is not None
            self._has_spaces = self._has_spaces or " " in key

    def resembles_footer(self, cells: Sequence[str], text: Callable[[], str]) -> bool:
        """Return whether a row looks like a footer, wherever the row is."""
        if self.line_pattern is not None:
            return self.line_pattern.matches(text().strip())
        for index in self.key_indexes:
            key = cells[index] if index < len(cells) else ""
            if " " in key or _match_beginning(key) is not None:
                keys = self._key_cells(cells)
                return any(map(_is_summary, keys)) or self._is_sentence(cells, keys)
        return False

    def has_no_identity(self, cells: Sequence[str]) -> bool:
        """Return whether a row names no person, like lines beside a total."""
        return not self._key_cells(cells)

    def is_footer(self, cells: Sequence[str]) -> bool:
        """Return whether a row that looks like a footer, with no row below it, is one."""
        if self.line_pattern is not None:
            return True
        keys = self._key_cells(cells)
        if self.is_ambiguous:
            return False
        if not all(map(_is_summary_or_number, keys)):
            return self._is_sentence(cells, keys) and self._are_keys_codes()
        if any(map(_is_phrase, keys)):
            return True
        return (
            self._has_codes_only
            or (self.row_count > 0 and sum(map(bool, cells)) < self._fewest_cells)
            or not self._has_text(cells)
        )

    def _has_text(self, cells: Sequence[str]) -> bool:
        """Return whether a cell beside the keys holds letters, other than a currency's."""
        other_cells = (
            cell.strip() for index, cell in enumerate(cells) if index not in self.key_indexes
        )
        return any(_LETTER.search(cell) and not _AMOUNT.fullmatch(cell) for cell in other_cells)

    def _is_sentence(self, cells: Sequence[str], keys: Sequence[str]) -> bool:
        """Return whether a row is a single sentence, in a table of several columns."""
        if self.column_count == 1 or len(keys) != 1 or sum(map(bool, cells)) != 1:
            return False
        words = keys[0][:_MAX_CELL_LENGTH].split()
        return len(words) >= _MIN_SENTENCE_WORDS and any(map(str.isalpha, words))

    def _are_keys_codes(self) -> bool:
        return self.row_count > 0 and self._has_codes_only and not self._has_spaces

    def _key_cells(self, cells: Sequence[str]) -> list[str]:
        texts = (cells[index].strip() for index in self.key_indexes if index < len(cells))
        return [text for text in texts if text]


def is_summary_word(text: str) -> bool:
    """Return whether a text is a word alone by which tables name a total."""
    return len(text) <= _MAX_CELL_LENGTH and _WORD.fullmatch(text) is not None


def _is_summary(key: str) -> bool:
    return _is_phrase(key) or is_summary_word(key)


def _is_phrase(key: str) -> bool:
    is_wordy = len(key) <= _MAX_CELL_LENGTH and (" " in key or ":" in key or "=" in key)
    return is_wordy and _PHRASE.fullmatch(key) is not None


def _is_summary_or_number(key: str) -> bool:
    return _is_summary(key) or _PLAIN_NUMBER.fullmatch(key[:_MAX_CELL_LENGTH]) is not None
