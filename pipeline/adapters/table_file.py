"""Tables in a folder: CSV or Parquet as texts by row and column; a fault names file and line."""

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Final, TypeAlias

from pipeline.adapters.folder_files import FileRefusal, find_file
from pipeline.config.delimiters import DELIMITERS, declared_delimiter, delimiter_by_name
from pipeline.config.odd_texts import invisible_character_in_name
from pipeline.model.interaction import text_of

_MAX_BYTES: Final = 50_000_000
_MAX_ROWS: Final = 50_000
_WORKBOOKS: Final = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
"""First bytes of .xlsx and .ods, and of .xls."""

_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")
_MAX_CHARACTERS: Final = 131_072
_LONG_CELL: Final = f"a cell of more than {_MAX_CHARACTERS:,} characters: close its quotation mark"
_CSV_REMEDIES: Final = {
    "unexpected end of data": "a quotation mark that opens here is not closed",
    "field larger than": _LONG_CELL,
    "expected after": "only a delimiter may follow a closing quotation mark: "
    'write "" for a quotation mark in a cell',
}


@dataclass(frozen=True, slots=True)
class TableFault:
    """Fault of a table; `line` counts from 1, and is the number of the row in Parquet."""

    file: str
    line: int
    message: str


@dataclass(frozen=True, slots=True)
class TableRow:
    """Row with its cells by column."""

    line: int
    cells: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TextTable:
    """Table whose cells are texts, without blanks around them.

    `header_line`: the line with the names of the columns; `number_columns`: columns that the file
    stores as numbers.
    """

    file: str
    header_line: int
    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]
    number_columns: frozenset[str] = frozenset()


TableFaults: TypeAlias = tuple[TableFault, ...]


def read_table(folder: Path, name: str) -> TextTable | TableFaults:
    """Return the table in a file of the folder, or all faults of its form."""
    path = find_file(folder, name, _MAX_BYTES)
    if isinstance(path, FileRefusal):
        return (TableFault(name, 1, f"this file {path.reason}"),)
    reader = {".csv": _read_csv, ".parquet": _read_parquet}.get(path.suffix.lower())
    if reader is None:
        message = "a table's name ends in .csv or .parquet: save a sheet as CSV UTF-8"
        return (TableFault(name, 1, message),)
    table = reader(name, path)
    if isinstance(table, TextTable) and not table.rows:
        return (TableFault(name, 1, "there are no rows: each item has a line under the header"),)
    return table


def _read_csv(name: str, path: Path) -> TextTable | TableFaults:
    text = _text(name, path.read_bytes())
    return (text,) if isinstance(text, TableFault) else _CsvReader(name, text).read()


def _text(name: str, data: bytes) -> str | TableFault:
    if data.startswith(_WORKBOOKS):
        return TableFault(name, 1, "this is a workbook: save its sheet as CSV UTF-8")
    encoding = "utf-16" if data.startswith(_UTF_16) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        return TableFault(name, line, "not in UTF-8: save the file as UTF-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")


class _CsvReader:
    """Reader of a CSV file: one line names the columns, blank lines are skipped."""

    def __init__(self, name: str, text: str) -> None:
        lines = text.split("\n")
        first_line = next((index for index, line in enumerate(lines) if line.strip()), 0)
        self._name = name
        self._declaration = declared_delimiter(lines[first_line])
        self._line_offset = 0 if self._declaration is None else first_line + 1
        self._text = "\n".join(lines[self._line_offset :])
        self._delimiter = delimiter_by_name(
            self._declaration or max(DELIMITERS, key=lines[first_line].count)
        )
        self._header_line = 1
        self._header: list[str] = []
        self._blank_columns = 0  # spreadsheets write them after the header's last name
        self._rows: list[TableRow] = []
        self._faults: list[TableFault] = []

    def read(self) -> TextTable | TableFaults:
        """Return the table, or all faults of its form."""
        if self._delimiter is None:
            self._refuse(
                self._line_offset,
                f"{self._declaration!r} cannot be a delimiter: write one such as ;",
            )
            return tuple(self._faults)
        for line, cells in self._lines(self._delimiter):
            if not self._header:
                self._take_header(line, cells)
            elif len(self._rows) == _MAX_ROWS:
                self._refuse(line, f"more than {_MAX_ROWS:,} rows: keep the items that are sold")
                break
            else:
                self._take_row(line, cells)
        if self._faults:
            return tuple(dict.fromkeys(self._faults))
        columns = tuple(self._header)
        return TextTable(self._name, self._header_line, columns, tuple(self._rows))

    def _lines(self, delimiter: str) -> Iterator[tuple[int, list[str]]]:
        """Yield the first line of each record, and its cells; blank records are skipped."""
        reader = csv.reader(io.StringIO(self._text), delimiter=delimiter, strict=True)
        line = 1 + self._line_offset
        try:
            for cells in reader:
                first_line, line = line, reader.line_num + 1 + self._line_offset
                # csv's own limit would hold for all readers of the process.
                if max(map(len, cells), default=0) > _MAX_CHARACTERS:
                    self._refuse(first_line, _LONG_CELL)
                    return
                stripped_cells = [cell.strip() for cell in cells]
                if any(stripped_cells):
                    yield first_line, stripped_cells
        except csv.Error as error:
            remedies = (remedy for sign, remedy in _CSV_REMEDIES.items() if sign in str(error))
            self._refuse(line, next(remedies, str(error)))

    def _take_header(self, line: int, cells: list[str]) -> None:
        last_column = max(number for number, cell in enumerate(cells, 1) if cell)
        self._header_line, self._header = line, cells[:last_column]
        self._blank_columns = len(cells) - last_column
        for name in sorted({name for name in self._header if self._header.count(name) > 1}):
            self._refuse(line, f"column {name!r} occurs twice" if name else "columns have no name")

    def _take_row(self, line: int, cells: list[str]) -> None:
        width = len(self._header)
        if self._blank_columns and len(cells) == width + self._blank_columns:
            if any(cells[width:]):
                self._refuse(self._header_line, "a column has no name")
            cells = cells[:width]
        if len(cells) == width:
            self._rows.append(TableRow(line, dict(zip(self._header, cells, strict=True))))
            return
        if width == 1:
            remedy = "put nothing above the line that names the columns"
        elif len(cells) > width:
            remedy = f"put a cell that has {self._delimiter!r} in it in quotation marks"
        else:
            remedy = "write every cell, empty ones too"
        self._refuse(line, f"{len(cells)} cells where the header has {width}: {remedy}")

    def _refuse(self, line: int, message: str) -> None:
        self._faults.append(TableFault(self._name, line, message))


def _read_parquet(name: str, path: Path) -> TextTable | TableFaults:
    import pyarrow as pa  # it takes a quarter of a second to import
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            if file.metadata.num_rows > _MAX_ROWS:
                message = f"more than {_MAX_ROWS:,} rows: keep the items that are sold"
                return (TableFault(name, _MAX_ROWS + 1, message),)
            schema = file.schema_arrow
            faults = [
                TableFault(name, 1, f"column {column.name!r} holds {column.type}: make it a text")
                for column in schema
                if pa.types.is_nested(column.type) or pa.types.is_binary(column.type)
            ]
            if faults:
                return tuple(faults)
            number_columns = frozenset(
                column.name
                for column in schema
                if pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
            )
            rows = tuple(
                TableRow(number, {column: _cell(value) for column, value in cells.items()})
                for number, cells in enumerate(file.read().to_pylist(), 1)
            )
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        reason = (str(error).splitlines() or ["it is damaged"])[0]
        return (TableFault(name, 1, f"not a complete Parquet file: {reason}; write it again"),)
    return TextTable(name, 1, tuple(schema.names), rows, number_columns)


def _cell(value: Any) -> str:
    if value is None or value != value:  # programs write a missing number as NaN
        return ""
    if isinstance(value, bool | int) or (isinstance(value, float) and isfinite(value)):
        return text_of(value)
    return str(value).strip()


def column_faults(table: TextTable) -> Iterator[TableFault]:
    """Yield a fault for each column with an unusable name, or without any value."""
    for name in table.columns:
        invisible_character = invisible_character_in_name(name)
        if not name:
            yield TableFault(table.file, table.header_line, "a column has no name")
        elif invisible_character is not None:
            message = (
                f"column {name!r} has an invisible character ({invisible_character}): remove it"
            )
            yield TableFault(table.file, table.header_line, message)
        elif all(not row.cells[name] for row in table.rows):
            message = f"column {name!r} is empty in every row: fill it, or take it out"
            yield TableFault(table.file, table.header_line, message)
