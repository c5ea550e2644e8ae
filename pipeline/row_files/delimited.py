"""Reader of CSV: a header, then one record per row; a quoted cell may hold line breaks.

A row that cannot be read does not affect others: after a quote that is never closed, reading
resumes on the line after it. Empty lines and repeated headers are skipped, and a footer is refused.
In properties and traits a cell that looks like a number, `true`, `false` or a JSON list has that
type; every other cell is text, and an empty cell is left out.
"""

import csv
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final, TypeAlias

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from pipeline.config.delimiters import DELIMITERS, declared_delimiter, delimiter_by_name
from pipeline.config.footers import MAX_LINES, FooterRule
from pipeline.config.odd_texts import FORMULA_START, ROUNDED_NUMBER
from pipeline.row_files.columns import (
    CONSENT,
    DETAILS,
    Columns,
    columns_of,
    count_known_columns,
    strip_name,
)
from pipeline.row_files.fault import Fault
from pipeline.row_files.ndjson import NOT_TEXT, TOO_LARGE
from pipeline.row_files.row import FileFormat, FileRow, ReadRow, UnreadableError, UnreadableRow
from pipeline.row_files.text_lines import Line, encoding_of, lines, unreadable_byte

_IDENTIFIERS: Final = "identifiers."
_IDS: Final = ("userId", "anonymousId", "previousId", "groupId")
_KEYS: Final = (*_IDS, "messageId", "event_id")
_FOOTER: Final = (
    "it looks like a footer (a total, or a mark of the end), not like a row; if it is a row, set "
    'csv: {footer: ""} in ingest.yaml, or send it with --footer ""'
)
_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,17})?")
_COMMA_NUMBER: Final = re.compile(
    r"-?(0|[1-9][0-9]{0,17}|[1-9][0-9]{0,2}(?:([.'\u2019\xa0\u202f])[0-9]{3}(?:\2[0-9]{3}){0,4}"
    r"|(?: [0-9]{3}){1,5}(?=,)))(,[0-9]{1,17})?"
)
"""Numbers with a decimal comma, optionally in groups of three by points, apostrophes or spaces.
Plain spaces group telephone numbers, too, so a comma must follow them."""

_GROUPED_NUMBER: Final = re.compile(r"-?[1-9][0-9]{0,2}(,[0-9]{3}){1,5}\.[0-9]{1,17}")
"""Numbers in groups of three: with a decimal point they have no other meaning."""

_SEPARATORS: Final = re.compile(r"[^0-9,-]")
_WORDS: Final = {
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_NO_LIMIT: Final = 2**31 - 1
"""Limit of the module csv on a cell, shared by all threads; `_LineSource` bounds whole records."""

_END_OF_FILE: Final = "\x1a"
"""Last character of files from old systems."""


_Parse: TypeAlias = Callable[[str, str], object]
"""Function from a column and its cell to a value, or a fault."""


class _TooLargeError(Exception):
    """Raised for a record beyond the limit on its size."""


class _Record(Struct, frozen=True):
    """Record with its lines; `fault`: the reason why it could not be split into `cells`."""

    lines: tuple[Line, ...]
    cells: tuple[str, ...] = ()
    fault: Fault | None = None

    @property
    def is_empty(self) -> bool:
        """Whether the record has no content: all cells are blank, or the only one ends the file."""
        contents = [content for cell in self.cells if (content := cell.strip())]
        is_end = len(self.cells) == 1 and contents == [_END_OF_FILE]
        return self.fault is None and (not contents or is_end)

    def text(self) -> str:
        """Return the text of the record."""
        first_line = self.lines[0]
        return (
            first_line.text if len(self.lines) == 1 else "".join(line.text for line in self.lines)
        )

    @property
    def ends_with_break(self) -> bool:
        """Whether the record ends with a line break."""
        return self.lines[-1].text.endswith(("\n", "\r"))


@dataclass(frozen=True, slots=True)
class _Table:
    """Columns of a file, with the parsers of their cells; None: cells are text.

    `identifiers`: indices and names of the columns with identifiers. `empty_words`: words that mean
    an empty cell.
    """

    columns: Columns
    parsers: tuple[_Parse | None, ...]
    identifiers: tuple[tuple[int, str], ...]
    empty_words: frozenset[str]


@dataclass(slots=True)
class _LineSource:
    """Iterator over lines. `pushback`: lines to read again; `read_lines`: lines of this record."""

    lines: Iterator[Line]
    max_size: int
    pushback: deque[Line] = field(default_factory=deque)
    read_lines: list[Line] = field(default_factory=list)
    size: int = 0

    def begin(self) -> None:
        """Begin another record."""
        self.read_lines, self.size = [], 0

    def __iter__(self) -> Iterator[str]:
        while (
            line := self.pushback.popleft() if self.pushback else next(self.lines, None)
        ) is not None:
            self.read_lines.append(line)
            self.size += len(line.text)
            if line.is_cut or self.size > self.max_size:
                raise _TooLargeError
            yield line.text


def delimited_rows(path: Path, file_format: FileFormat) -> Iterator[ReadRow]:
    """Read a CSV file. Raises UnreadableError without a valid header."""
    encoding = encoding_of(path, file_format.encoding)
    max_bytes = file_format.max_bytes
    source = _LineSource(
        islice(lines(path, encoding, max_bytes), file_format.skip, None), max_bytes
    )
    delimiter = _find_delimiter(source, path, file_format)
    records = _records(source, delimiter, file_format)
    names, columns = _header(records, path, file_format)
    table = _table(columns, file_format)
    for record in _separate_footer(records, names, _footer_rule(columns, file_format)):
        yield _row(record, table)


def _header(
    records: Iterator[_Record], path: Path, file_format: FileFormat
) -> tuple[tuple[str, ...], Columns]:
    """Return the names of the columns, and their fields."""
    if file_format.names:
        return file_format.names, columns_of(file_format.names, file_format)
    header = next((record for record in records if record.fault or not record.is_empty), None)
    if header is None:
        raise UnreadableError(f"{path} is empty: the first line names the columns")
    line = header.lines[0].number
    if header.fault is not None:
        raise UnreadableError(f"{path}:{line}: {header.fault.message}")
    try:
        return header.cells, columns_of(header.cells, file_format)
    except UnreadableError as error:
        raise UnreadableError(f"{path}:{line}: {error}") from None


def _is_header(cells: tuple[str, ...], names: tuple[str, ...]) -> bool:
    """Return whether a record repeats the header, as in concatenated files.

    Such a header may begin with the byte order mark of its file.
    """
    return (
        cells[:1] != () and strip_name(cells[0]) == strip_name(names[0]) and cells[1:] == names[1:]
    )


def _footer_rule(columns: Columns, file_format: FileFormat) -> FooterRule:
    keys = [index for index, name in enumerate(columns.names) if name and _is_key(name)]
    return FooterRule(keys, len(columns.names), file_format.footer)


def _is_key(column: str) -> bool:
    return column.startswith(_IDENTIFIERS) or column in _KEYS


def _separate_footer(
    records: Iterator[_Record], names: tuple[str, ...], rule: FooterRule
) -> Iterator[_Record]:
    """Yield the records without headers and empty lines.

    Records that look like a footer are held back until what follows them is read: at the end, or
    before another header, they are a footer.
    """
    candidates: list[_Record] = []
    for record in records:
        if record.is_empty:
            continue
        if _is_header(record.cells, names):
            yield from _footer(candidates, rule)
            candidates = []
        elif _may_be_footer(record, rule) or (candidates and _belongs_to_footer(record, rule)):
            candidates.append(record)
            if len(candidates) > MAX_LINES:
                yield from _release_rows(candidates, rule)
                candidates = []
        else:
            yield from _release_rows(candidates, rule)
            candidates = []
            rule.add(record.cells)
            yield record
    yield from _footer(candidates, rule)


def _may_be_footer(record: _Record, rule: FooterRule) -> bool:
    return record.fault is None and rule.resembles_footer(record.cells, record.text)


def _belongs_to_footer(record: _Record, rule: FooterRule) -> bool:
    """Return whether a refused record that does not look like a footer may be part of one."""
    return record.fault is not None or rule.has_no_identity(record.cells)


def _release_rows(candidates: Sequence[_Record], rule: FooterRule) -> Iterator[_Record]:
    """Yield records that were held back, and are rows since other rows follow them."""
    rule.is_ambiguous = rule.is_ambiguous or bool(candidates)
    for record in candidates:
        rule.add(record.cells)
        yield record


def _footer(candidates: Sequence[_Record], rule: FooterRule) -> Iterator[_Record]:
    """Yield the last records, with a fault if they are a footer; leave a configured footer out."""
    for record in candidates:
        if not _may_be_footer(record, rule) or not rule.is_footer(record.cells):
            yield record
        elif rule.line_pattern is None:
            yield replace(record, fault=Fault("footer", None, _FOOTER))


def _table(columns: Columns, file_format: FileFormat) -> _Table:
    indexed_names = enumerate(columns.names)
    return _Table(
        columns,
        tuple(_parser(name, file_format) for name in columns.names),
        tuple(
            (index, name) for index, name in indexed_names if name and name.startswith(_IDENTIFIERS)
        ),
        file_format.empty,
    )


def _reader(source: Iterable[str], delimiter: str, file_format: FileFormat) -> Iterator[list[str]]:
    escape = file_format.escape or None
    if file_format.quote:
        return csv.reader(
            source, delimiter=delimiter, quotechar=file_format.quote, escapechar=escape, strict=True
        )
    return csv.reader(
        source, delimiter=delimiter, quoting=csv.QUOTE_NONE, escapechar=escape, strict=True
    )


def _records(source: _LineSource, delimiter: str, file_format: FileFormat) -> Iterator[_Record]:
    csv.field_size_limit(_NO_LIMIT)
    reader = _reader(source, delimiter, file_format)
    while True:
        source.begin()
        try:
            cells = next(reader, None)
            fault = None
        except _TooLargeError:
            message = f"a record may have {source.max_size} characters; is a quote left open?"
            cells, fault = [], Fault(TOO_LARGE, None, message)
        except csv.Error as error:
            cells, fault = [], Fault("invalid_csv", None, f"its quotes are invalid: {error}")
        record_lines = tuple(source.read_lines)
        if cells is None or not record_lines:
            return
        if fault is None:
            yield _Record(record_lines, tuple(cells))
            continue
        source.pushback.extendleft(reversed(record_lines[1:]))
        yield _Record(record_lines[:1], (), fault)
        reader = _reader(source, delimiter, file_format)


def _row(record: _Record, table: _Table) -> ReadRow:
    first_line, last_line = record.lines[0], record.lines[-1]
    text = record.text()
    result = record.fault or _to_json(record, table, text)
    if isinstance(result, Fault):
        fault_key = (result.code, result.column, result.message)
        return UnreadableRow(first_line.number, *fault_key, last_line.progress, original=text)
    cells = record.cells
    identifier_columns = tuple(
        name for index, name in table.identifiers if index < len(cells) and cells[index]
    )
    return FileRow(first_line.number, result, last_line.progress, identifier_columns, text)


def _to_json(record: _Record, table: _Table, text: str) -> bytes | Fault:
    cells, names = record.cells, table.columns.names
    if len(cells) < len(names) and not record.ends_with_break:
        message = f"{len(cells)} cells for {len(names)} columns: the file ends within this row"
        return Fault("cut_off", None, message)
    if len(cells) > len(names) and any(cells[len(names) :]):
        return Fault("too_many_cells", None, f"{len(cells)} cells for {len(names)} columns")
    is_readable = unreadable_byte(text) is None
    pairs: list[tuple[str, object]] = []
    for name, parse, cell in zip(names, table.parsers, cells, strict=False):
        if not cell or cell in table.empty_words:
            continue
        if not is_readable and (fault := unreadable_byte(cell)) is not None:
            return _report_invalid_text(cells, names, fault)
        if name is None:
            continue
        value = cell if parse is None else parse(name, cell)
        if isinstance(value, Fault):
            return value
        pairs.append((name, value))
    return table.columns.record(pairs)


def _report_invalid_text(cells: Sequence[str], names: Sequence[str | None], fault: str) -> Fault:
    """Report the first cell that is not valid text."""
    index = next(index for index, cell in enumerate(cells) if unreadable_byte(cell) is not None)
    return Fault(NOT_TEXT, names[index] or f"column {index + 1}", fault)


def _parser(column: str | None, file_format: FileFormat) -> _Parse | None:
    """Return the parser of a column's cells; None: they are text."""
    if column is None:
        return None
    if column.startswith(_IDENTIFIERS):
        return _parse_identifier
    if column in _IDS:
        return _parse_id
    if column.startswith(CONSENT):
        return _parse_consent
    if not column.startswith(DETAILS):
        return None
    return _parse_decimal_comma if file_format.decimal_comma else _parse_detail


def _parse_identifier(column: str, cell: str) -> object:
    return _parse_id(column, strip_name(_unguard(cell)))


def _parse_id(column: str, text: str) -> object:
    if ROUNDED_NUMBER.fullmatch(text):
        message = f"a spreadsheet has rounded {text}, so that ids got lost; save the column as text"
        return Fault("invalid_identifier", column, message)
    return text


def _unguard(cell: str) -> str:
    """Return the text within a formula such as ="007", which protects it from conversion by a
    spreadsheet."""
    return cell[2:-1] if cell.startswith(FORMULA_START) and cell.endswith('"') else cell


def _parse_consent(column: str, cell: str) -> object:
    if cell.lower() not in ("true", "false"):
        return Fault("invalid_field", column, "consent is true or false")
    return cell.lower() == "true"


def _parse_detail(_: str, cell: str) -> object:
    if match := _NUMBER.fullmatch(cell):
        return float(cell) if match[2] else int(cell)
    if _GROUPED_NUMBER.fullmatch(cell):
        return float(cell.replace(",", ""))
    return _parse_other(cell)


def _parse_decimal_comma(column: str, cell: str) -> object:
    if match := _COMMA_NUMBER.fullmatch(cell):
        plain_number = _SEPARATORS.sub("", cell).replace(",", ".")
        return float(plain_number) if match[3] else int(plain_number)
    if _NUMBER.fullmatch(cell):
        return Fault("invalid_number", column, f"{cell!r} is not a number with a decimal comma")
    return _parse_other(cell)


def _parse_other(cell: str) -> object:
    """Parse a cell that is not a number."""
    if cell in _WORDS:
        return _WORDS[cell]
    return _parse_list(cell) if cell.startswith("[") else _unguard(cell)


def _parse_list(cell: str) -> object:
    try:
        value = msgspec.json.decode(cell)
    except (msgspec.DecodeError, RecursionError):
        return cell
    return value if isinstance(value, list) else cell


def _find_delimiter(source: _LineSource, path: Path, file_format: FileFormat) -> str:
    """Return the configured delimiter, else the one the file declares, else the best guess: that
    with the most known columns."""
    first_line = next(source.lines, None)
    while first_line is not None and not first_line.text.strip():
        first_line = next(source.lines, None)
    if first_line is None:
        raise UnreadableError(f"{path} is empty: the first line names the columns")
    declaration = declared_delimiter(first_line.text)
    if declaration is None:
        source.pushback.append(first_line)
    name = file_format.delimiter or declaration
    if name is None:
        return max(
            DELIMITERS, key=lambda mark: _count_columns(_split(first_line.text, mark), file_format)
        )
    delimiter = delimiter_by_name(name)
    if delimiter is None:
        raise UnreadableError(f"no delimiter {name!r}: one character, or tab")
    return delimiter


def _count_columns(header: list[str], file_format: FileFormat) -> int:
    """Return the number of known columns; without a header, a score for their number."""
    if file_format.names:
        return -abs(len(header) - len(file_format.names))
    mapping = file_format.mapping
    if mapping is None:
        return count_known_columns(header)
    return sum(mapping.target(name.strip()) is not None for name in header)


def _split(header: str, delimiter: str) -> list[str]:
    return next(csv.reader([header], delimiter=delimiter), [])
