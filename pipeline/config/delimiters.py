"""Delimiters of CSV files: how they are named, guessed, and declared within a file."""

import re
from typing import Final

DELIMITERS: Final = (",", ";", "\t", "|")
"""Delimiters that are detected where none is named."""

_DELIMITERS_BY_NAME: Final = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}
_UNUSABLE_CHARACTERS: Final = '"\r\n '
_DECLARATION: Final = re.compile(r'(?:sep=(.)|"sep=(.)")\s*', re.IGNORECASE)


def delimiter_by_name(name: str) -> str | None:
    """Return the delimiter with this name, or the character itself; None where it is unusable."""
    delimiter = _DELIMITERS_BY_NAME.get(name.lower(), name)
    return delimiter if len(delimiter) == 1 and delimiter not in _UNUSABLE_CHARACTERS else None


def declared_delimiter(line: str) -> str | None:
    """Return the character in a line `sep=;`, in which spreadsheets name their delimiter."""
    match = _DECLARATION.fullmatch(line)
    return None if match is None else match[1] or match[2]
