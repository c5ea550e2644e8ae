"""What a file is read as: rows of JSON, each as a record that could have been posted."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias


class UnreadableError(Exception):
    """The file as a whole cannot be read, or not any further; the message says why."""


@dataclass(frozen=True, slots=True)
class FileFormat:
    """How a file is written, where that is not found out.

    `encoding`, `delimiter`: None: found. `decimal_comma`: numbers of CSV are written `1.234,50`.
    `ignored` columns mean nothing here. A record may have `max_bytes`.
    """

    max_bytes: int
    encoding: str | None = None
    delimiter: str | None = None
    decimal_comma: bool = False
    ignored: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class FileRow:
    """`line`: in a text file the line where it begins, counted from 1; in Parquet the row.
    `done`: how far the file has been read, in the unit of `RowFile.size`. `identifiers`: the
    columns that the identifiers are of, in their order.
    """

    line: int
    raw: bytes
    done: int
    identifiers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UnreadableRow:
    """What cannot be read as a record; `field`: the column at fault. `rows`: how many are lost
    with it, beginning there."""

    line: int
    code: str
    field: str | None
    message: str
    done: int
    rows: int = 1


ReadRow: TypeAlias = FileRow | UnreadableRow


@dataclass(frozen=True, slots=True)
class RowFile:
    """`size`: bytes of a text file, rows of a Parquet file; for showing progress. `rows` raises
    UnreadableError where the rest of the file is lost."""

    size: int
    rows: Callable[[], Iterator[ReadRow]]
