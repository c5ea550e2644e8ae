"""Rows of a file, each in JSON that could have been posted."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from pipeline.config.regex import Pattern
from pipeline.row_files.mapping import RowMapping

FormatName: TypeAlias = Literal["csv", "ndjson", "parquet"]

QUOTE: Final = '"'


class UnreadableError(Exception):
    """Raised for a file that cannot be read, or not to its end; the message gives the reason."""


@dataclass(frozen=True, slots=True)
class FileFormat:
    """Format of a file.

    `max_bytes`: limit on the size of a record. `encoding`, `delimiter`: None: detected.
    `decimal_comma`: numbers of CSV are written `1.234,50`. `ignored_columns`: columns to leave out.
    `quote`: character around cells of CSV; empty: none. `names`: columns of CSV without a header.
    `mapping`: fields of the columns; None: columns are named like fields. `skip`: lines of CSV
    before its header. `escape`: character before a quote within a cell; empty: quotes are doubled.
    `empty`: words that mean an empty cell of CSV. `footer`: last rows of CSV to leave out, by their
    whole text; None: a recognised footer is refused.
    """

    max_bytes: int
    encoding: str | None = None
    delimiter: str | None = None
    decimal_comma: bool = False
    ignored_columns: frozenset[str] = frozenset()
    quote: str = QUOTE
    names: tuple[str, ...] = ()
    mapping: RowMapping | None = None
    skip: int = 0
    escape: str = ""
    empty: frozenset[str] = frozenset({"\\N"})
    footer: Pattern | None = None


class FileRow(Struct, frozen=True):
    """Row in JSON (`raw`), with its position.

    `line`: first line in a text file, counted from 1; in Parquet the row's number. `progress`: the
    position in the file, in the unit of `RowFile.size`. `identifiers`: columns of the identifiers,
    in their order. `original`: text of the row in a text file.
    """

    line: int
    raw: bytes
    progress: int
    identifiers: tuple[str, ...] = ()
    original: str = ""


class UnreadableRow(Struct, frozen=True):
    """Row that cannot be read; `field`: the column at fault.

    `rows`: number of lost rows, beginning with this one. `original`: text of the row in a text
    file, as far as it was read.
    """

    line: int
    code: str
    field: str | None
    message: str
    progress: int
    rows: int = 1
    original: str = ""


ReadRow: TypeAlias = FileRow | UnreadableRow


@dataclass(frozen=True, slots=True)
class RowFile:
    """File of rows. `size`, for progress: bytes of a text file, rows of a Parquet file.

    `rows` raises UnreadableError if the rest of the file cannot be read.
    """

    size: int
    rows: Callable[[], Iterator[ReadRow]]
