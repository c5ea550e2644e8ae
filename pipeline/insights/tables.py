"""Tables of analysts (CSV, Parquet, NDJSON) in DuckDB, checked cell by cell before they are used.

An invalid cell, a missing column or a truncated file is a TableError that names the file and, if
possible, the line (in Parquet: the row) and the column.
"""

import csv
import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import duckdb

from pipeline.config.delimiters import declared_delimiter

Kind: TypeAlias = Literal["text", "amount", "number", "share", "time"]
Format: TypeAlias = Literal["csv", "parquet", "ndjson"]

_FORMATS: Final[dict[str, Format]] = {
    ".csv": "csv",
    ".parquet": "parquet",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "ndjson",
}
MAX_AMOUNT: Final = 1e15
"""Greatest amount of a cell or an option: sums of them stay exact to a unit, and finite."""

_MAX_TIME_US: Final = 253_402_300_799_999_999
"""Last µs of the year 9999; a later time is in another unit."""

_MAX_DOUBLE: Final = "1.7976931348623157e308"
MORE_MEMORY: Final = "more memory than allowed: raise --memory (KAIROS_INSIGHTS_MEMORY)"
_NO_NUMBER: Final = "is not a finite number"
_NO_TEXT: Final = "is not in UTF-8"
_MAX_LINE_BYTES: Final = 64 * 1024 * 1024
_KIND_WORDS: Final[dict[Kind, str]] = {
    "text": "a text",
    "amount": "a number",
    "number": "a number",
    "share": "a number",
    "time": "a time",
}
_SEPARATORS: Final = {";": "semicolons", "\t": "tabs", "|": "bars"}
_ZONE: Final = "(Z|z|[+-][0-9]{2}(:?[0-9]{2})?)$"


class TableError(Exception):
    """Raised for a table that cannot be used; the message names the place and the reason."""


@dataclass(frozen=True, slots=True)
class Engine:
    """Engine of DuckDB with its limits: data beyond `memory` (such as 500MB; None: most of the
    machine's) are written to `folder` (None: the system's temporary one)."""

    memory: str | None = None
    folder: Path | None = None
    threads: int | None = None

    @contextmanager
    def open(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open a connection; it is closed, and its files are removed, at the end of the context.

        Raises TableError for an unusable limit, and when the memory does not suffice.
        """
        if self.folder is not None and not self.folder.is_dir():
            raise TableError(f"{self.folder}, for what does not fit into memory: is not a folder")
        with tempfile.TemporaryDirectory(prefix="kairos-", dir=self.folder) as spill:
            connection = duckdb.connect(":memory:")
            try:
                connection.execute("SET temp_directory = $folder", {"folder": spill})
                connection.execute("SET enable_progress_bar = false")
                connection.execute("SET TimeZone = 'UTC'")
                if self.memory:
                    _set_memory(connection, self.memory)
                if self.threads:
                    connection.execute(f"SET threads = {self.threads:d}")
                yield connection
            except duckdb.OutOfMemoryException as error:
                raise TableError(f"needs {MORE_MEMORY}") from error
            finally:
                connection.close()


def _set_memory(connection: duckdb.DuckDBPyConnection, limit: str) -> None:
    try:
        connection.execute("SET memory_limit = $limit", {"limit": limit})
    except duckdb.Error as error:
        problem = f"memory of {limit!r}: say a size, such as 500MB or 4GB"
        raise TableError(f"--memory (KAIROS_INSIGHTS_MEMORY): {problem}") from error


@dataclass(frozen=True, slots=True)
class Column:
    """Column to read. Kinds: text; amount (a number from 0 to 1e15); number; share (a number from 0
    to 1); time. A missing column that is not `required` is read as `default`."""

    name: str
    kind: Kind
    required: bool = True
    default: str | None = None  # an SQL literal, also for blank cells of the column
    blank: bool = False  # whether a cell may be blank
    blank_unless: str = ""  # SQL over raw cells; where it is true, a cell must not be blank
    above_zero: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """Table as a view with the requested columns in their types; times in µs.

    `file_columns`: names of the file's columns; `place`: returns the place of the row with a number
    (from 1), as an error names it.
    """

    name: str
    file_columns: frozenset[str]
    rows: int
    place: Callable[[int], str]


def read_table(
    connection: duckdb.DuckDBPyConnection,
    file: Path,
    columns: Sequence[Column],
    zone: str | None = None,
    ordered: bool = True,
) -> Table:
    """Make the view `checked` of `file`, and check every cell. Raises TableError.

    `zone`: the time zone of times without one; `ordered`: whether rows keep their order and have
    their number, from 1, in the column `row`.
    """
    source = _Source.of(connection, file)
    trimmed = source.format != "parquet"
    cells = typed_cells(file, source.types, columns, zone, trimmed)
    relation = CheckedRelation(
        source.sql,
        "row_number() OVER ()",
        lambda sql: connection.execute(sql).fetchall(),
        source.place,
    )
    try:
        rows = relation.check(cells)
        columns_sql = select_cells(cells)
        if ordered:
            columns_sql += ", row_number() OVER () AS row"
        else:
            connection.execute("SET preserve_insertion_order = false")
        connection.execute(
            f"CREATE OR REPLACE VIEW checked AS SELECT {columns_sql} FROM {source.sql}"
        )
    except duckdb.Error as error:
        raise _damage_error(file, error) from error
    return Table("checked", frozenset(source.types), rows, source.place)


@dataclass(frozen=True, slots=True)
class _Source:
    """File as a relation in SQL, with the types of its columns."""

    file: Path
    format: Format
    sql: str
    types: dict[str, str]

    @staticmethod
    def of(connection: duckdb.DuckDBPyConnection, file: Path) -> "_Source":
        form = _FORMATS.get(file.suffix.lower())
        if form is None:
            raise TableError(f"{file}: is none of {', '.join(_FORMATS)}")
        if not file.is_file():
            raise TableError(f"{file}: is not there" if not file.exists() else f"{file}: no file")
        if file.stat().st_size == 0:
            raise TableError(f"{file}: is empty, without even a header")
        name = "'" + _literal_path(file).replace("'", "''") + "'"
        if form == "csv":
            return _Source(file, form, *_csv_relation(file, name))
        if form == "ndjson":
            return _Source(file, form, *_ndjson_relation(file, name))
        sql = f"read_parquet({name})"
        try:
            column_rows = connection.execute(f"DESCRIBE SELECT * FROM {sql}").fetchall()
        except duckdb.Error as error:
            raise _damage_error(file, error) from error
        return _Source(file, form, sql, {row[0]: row[1] for row in column_rows})

    def place(self, row: int) -> str:
        """Return the place of the row with this number (from 1)."""
        if self.format == "csv":
            return f"{self.file}:{_csv_line(self.file, row)}"
        if self.format == "ndjson":
            return f"{self.file}:{_ndjson_line(self.file, row)}"
        return f"{self.file}: row {row:,}"


def _csv_relation(file: Path, name: str) -> tuple[str, dict[str, str]]:
    header = _read_header(file)
    types = dict.fromkeys(header, "VARCHAR")
    if len(types) < len(header):
        duplicate = next(column for column in header if header.count(column) > 1)
        raise TableError(f"{file}:1: column {duplicate!r} occurs twice")
    columns = ", ".join(f"{sql_text(column)}: 'VARCHAR'" for column in header)
    sql = (
        f"read_csv({name}, columns = {{{columns}}}, auto_detect = false, header = true, "
        f"delim = ',', quote = '\"', escape = '\"', nullstr = '', null_padding = false, "
        f"strict_mode = true, max_line_size = {_MAX_LINE_BYTES})"
    )
    return sql, types


def _read_header(file: Path) -> list[str]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            header = next(csv.reader(lines), [])
    except UnicodeDecodeError as error:
        raise TableError(f"{file}:{_undecodable_line(file)}: is not in UTF-8") from error
    except csv.Error as error:
        raise TableError(f"{file}:1: {error}") from error
    if declared_delimiter(",".join(header)) is not None:
        raise TableError(f"{file}:1: is a line for spreadsheets, not the header: remove it")
    if not any(header):
        raise TableError(f"{file}:1: has no header")
    for separator, name in _SEPARATORS.items():
        if len(header) == 1 and separator in header[0]:
            raise TableError(f"{file}:1: is separated by {name}: separate it by commas")
    if "" in header:
        raise TableError(f"{file}:1: column {header.index('') + 1} has no name")
    return header


def _undecodable_line(file: Path) -> int:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 1


def _ndjson_relation(file: Path, name: str) -> tuple[str, dict[str, str]]:
    """Return a query for the lines, and its columns: the fields of all lines.

    Each line is parsed here once more, because DuckDB does not name the line that is not JSON.
    """
    fields: dict[str, str] = {}
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise TableError(f"{file}:{number}: is not JSON ({error})") from error
            if not isinstance(record, dict):
                raise TableError(f"{file}:{number}: is not a JSON object")
            fields.update(dict.fromkeys(record, "VARCHAR"))
    if not fields:
        raise TableError(f"{file}: is empty")
    columns = ", ".join(f"{sql_text(field)}: 'VARCHAR'" for field in fields)
    sql = (
        f"read_json({name}, format = 'newline_delimited', columns = {{{columns}}}, "
        f"maximum_object_size = {_MAX_LINE_BYTES})"
    )
    return sql, fields


def typed_cells(
    file: Path,
    types: Mapping[str, str],
    columns: Sequence[Column],
    zone: str | None,
    trimmed: bool = False,
) -> "list[Cell]":
    """Return the columns as read from a table with these `types`. Raises TableError for a missing
    one."""
    for column in columns:
        if column.required and column.name not in types:
            present_columns = ", ".join(sorted(types))
            raise TableError(f"{file}: has no column {column.name!r}; it has {present_columns}")
        if (nesting := _kind_of_nesting(types.get(column.name, ""))) is not None:
            raise TableError(
                f"{file}: column {column.name!r} is {nesting}, not {_KIND_WORDS[column.kind]}"
            )
    if zone is not None and not _is_zone(zone):
        raise TableError(f"--timezone {zone}: is not a time zone, such as Europe/Madrid")
    return [Cell(column, types.get(column.name), zone, trimmed) for column in columns]


def _kind_of_nesting(type_name: str) -> str | None:
    """Return the kind of a column whose cells have several values; None for all others."""
    if type_name.endswith("]") or type_name.startswith(("ARRAY", "LIST")):
        return "a list"
    return "a structure" if type_name.startswith(("STRUCT", "MAP", "UNION")) else None


def select_cells(cells: "Sequence[Cell]") -> str:
    """Return SQL of the columns in their types."""
    return ", ".join(f"{cell.value} AS {_quote(cell.column.name)}" for cell in cells)


class Cell:
    """SQL for a column: its typed value, and conditions for the faults of a cell. Blanks around a
    text are significant in Parquet only."""

    def __init__(
        self, column: Column, type_name: str | None, zone: str | None, trimmed: bool
    ) -> None:
        self.column = column
        self.is_present = type_name is not None
        self.raw = f"CAST({_quote(column.name)} AS VARCHAR)" if type_name else "NULL"
        self.faults: list[tuple[str, str]] = []
        default = column.default or "NULL"
        if type_name is None:
            self.value = default
            return
        source = _quote(column.name)
        if type_name == "BLOB":  # Parquet text without the annotation as text
            self.faults.append((f"{source} IS NOT NULL AND {_decode(source)} IS NULL", _NO_TEXT))
            source, type_name = _decode(source), "VARCHAR"
        if type_name == "VARCHAR":
            source = f"NULLIF(TRIM({source}), '')" if trimmed else f"NULLIF({source}, '')"
        value = (
            source
            if column.kind == "text" and type_name == "VARCHAR"
            else self._cast(source, type_name, zone)
        )
        if not column.blank and column.default is None:
            self.faults.append((f"{source} IS NULL", "is blank"))
        elif column.blank_unless:
            self.faults.append((f"{source} IS NULL AND ({column.blank_unless})", "is blank"))
        self._check_value(source, value)
        self.value = f"COALESCE({value}, {default})" if column.default else value

    def _cast(self, source: str, type_name: str, zone: str | None) -> str:
        if self.column.kind == "text":
            return f"CAST({source} AS VARCHAR)"
        if self.column.kind != "time":
            return f"TRY_CAST({source} AS DOUBLE)"
        return self._time_sql(source, type_name, zone)

    def _time_sql(self, source: str, type_name: str, zone: str | None) -> str:
        """Return SQL for µs since 1970: from ms in whole numbers, from a time with its zone, or in
        `zone`."""
        if type_name == "TIMESTAMP WITH TIME ZONE":
            return f"epoch_us({source})"
        local = f"timezone({sql_text(zone)}, CAST({source} AS TIMESTAMP))" if zone else None
        if type_name.startswith("TIMESTAMP") or type_name == "DATE":
            if local is None:
                self.faults.append((f"{source} IS NOT NULL", "has no time zone (--timezone ZONE)"))
                return "NULL"
            return f"epoch_us({local})"
        text = f"CAST({source} AS VARCHAR)"
        is_number = f"regexp_matches({text}, '^[0-9]{{1,15}}$')"
        has_zone = f"regexp_matches({text}, '[0-9][T ].*{_ZONE}')"
        lacks_zone = (
            f"NOT {is_number} AND NOT {has_zone} AND TRY_CAST({text} AS TIMESTAMP) IS NOT NULL"
        )
        if local is None:
            self.faults.append((lacks_zone, "has no time zone (--timezone ZONE)"))
            local_time = "NULL"
        else:
            local_time = f"epoch_us(timezone({sql_text(zone)}, TRY_CAST({text} AS TIMESTAMP)))"
        return (
            f"CASE WHEN {is_number} THEN TRY_CAST({text} AS BIGINT) * 1000 "
            f"WHEN {has_zone} THEN epoch_us(TRY_CAST({text} AS TIMESTAMPTZ)) ELSE {local_time} END"
        )

    def _check_value(self, source: str, value: str) -> None:
        column = self.column
        if column.choices:
            choices = ", ".join(sql_text(choice) for choice in column.choices)
            words = f"is none of {', '.join(column.choices)}"
            self.faults.append((f"{source} IS NOT NULL AND {value} NOT IN ({choices})", words))
        if column.kind == "time":
            self.faults.append((f"{source} IS NOT NULL AND {value} IS NULL", "is not a time"))
            self.faults.append((f"{value} > {_MAX_TIME_US}", "is after the year 9999"))
        if column.kind in ("text", "time"):
            return
        number = f"{source} IS NOT NULL AND ({value} IS NULL OR NOT abs({value}) <= {_MAX_DOUBLE})"
        self.faults.append((number, _NO_NUMBER))
        if column.above_zero:
            self.faults.append((f"{value} <= 0", "is not above 0"))
        elif column.kind != "number":
            self.faults.append((f"{value} < 0", "is negative"))
        if column.kind == "amount":
            self.faults.append((f"{value} > {MAX_AMOUNT:.0f}", f"is above {MAX_AMOUNT:g}"))
        if column.kind == "share":
            self.faults.append((f"{value} > 1", "is above 1"))


def _decode(blob: str) -> str:
    return f"TRY(decode({blob}))"


def sql_text(text: str | None) -> str:
    """Return a text as an SQL literal; '' for None."""
    return "'" + (text or "").replace("'", "''") + "'"


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True, slots=True)
class CheckedRelation:
    """Relation of raw cells: `sql` is its name or function, `number` the expression of a row's
    number; `rows` runs a query, `place` returns a row's place."""

    sql: str
    number: str
    rows: Callable[[str], Sequence[tuple[Any, ...]]]
    place: Callable[[int], str]

    def check(self, cells: Sequence[Cell]) -> int:
        """Return the number of rows. Raises TableError for the first row with a fault."""
        faults = [(cell, *fault) for cell in cells for fault in cell.faults]
        counts = [f"count(*) FILTER (WHERE {condition})" for _, condition, _ in faults]
        # Columns without checks are counted too: DuckDB finds text that is not UTF-8 by reading it.
        counts += [f"count({_quote(cell.column.name)})" for cell in cells if cell.is_present]
        [row] = self.rows(f"SELECT count(*), {', '.join(counts)} FROM {self.sql}")
        present_faults = [fault for fault, count in zip(faults, row[1:], strict=False) if count]
        if present_faults:
            raise self._first_fault(present_faults)
        return int(row[0])

    def _first_fault(self, faults: Sequence[tuple[Cell, str, str]]) -> TableError:
        """Return the error for the earliest row with any of the faults."""
        candidates = []
        for cell, condition, words in faults:
            [(number, text)] = self.rows(
                f"SELECT number, cell FROM (SELECT {self.number} AS number, {cell.raw} AS cell, "
                f"{condition} AS faulty FROM {self.sql}) AS checked "
                "WHERE faulty ORDER BY number LIMIT 1"
            )
            candidates.append((int(number), cell.column.name, text, words))
        row, column, text, words = min(candidates, key=lambda fault: fault[0])
        if words == _NO_NUMBER and re.fullmatch(r"\s*[-+]?[0-9.]+,[0-9]+\s*", str(text)):
            words += " (a decimal comma: write a point)"
        message = "" if text is None or not str(text).strip() else f"{str(text)[:80]!r} "
        return TableError(f"{self.place(row)}: {column}: {message}{words}")


def _csv_line(file: Path, row: int) -> int:
    """Return the line on which the record begins; record 1 follows the header."""
    line = 1
    with file.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(lines)
        next(reader, None)
        for record in reader:
            row -= bool(record)
            if row == 0:
                return line + 1
            line = reader.line_num
    return line


def _ndjson_line(file: Path, row: int) -> int:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            row -= bool(line.strip())
            if row == 0:
                return number
    return 0


def _literal_path(file: Path) -> str:
    """Return the path with DuckDB's wildcards escaped."""
    return re.sub(r"([*?\[])", r"[\1]", str(file))


def _damage_error(file: Path, error: duckdb.Error) -> TableError:
    """Return the error for a damaged file, in plain words for DuckDB's usual messages, else
    with the first line of its message."""
    message = str(error)
    if isinstance(error, duckdb.OutOfMemoryException):
        return TableError(f"{file}: needs {MORE_MEMORY}")
    line = re.search(r"Line: (\d+)", message)
    place = f"{file}:{line.group(1)}" if line else str(file)
    if match := re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", message):
        return TableError(f"{place}: has {match.group(2)} columns instead of {match.group(1)}")
    if "Invalid unicode" in message:
        return TableError(f"{place}: is not in UTF-8")
    if "state machine" in message:
        return TableError(f"{place}: lines end in different ways (LF and CRLF): use one of them")
    if "nterminated quote" in message or "unquoted" in message.lower():
        return TableError(f"{place}: a quotation mark is never closed, or the file was cut there")
    if "magic bytes" in message or "Parquet" in message or "parquet" in message:
        return TableError(f"{file}: is damaged or was cut (no whole Parquet file)")
    first = " ".join(message.split("\n")[0].split())
    return TableError(f"{place}: {first}")


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (OSError, ValueError, ZoneInfoNotFoundError):
        return False
    return True
