"""Files as rows of JSON, whatever their format: each row as a record that could have been posted.

In CSV and Parquet a dotted column is a nested field: `properties.price`, `context.ip`,
`identifiers.email`. Empty cells are left out. In CSV, properties and traits that look like a
number, `true` or `false` are that; everything else is text. A column `properties`, `traits`,
`context` or `identifiers` may hold JSON.
"""

import csv
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

_BOM: Final = b"\xef\xbb\xbf"
_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,17})?")
_EPOCH_MS: Final = re.compile(r"[0-9]{12,15}")
_OBJECTS: Final = frozenset({"properties", "traits", "context", "identifiers"})
_TIMES: Final = frozenset({"timestamp", "sentAt", "occurred_at", "received_at"})
_BATCH_ROWS: Final = 10_000


class UnreadableError(Exception):
    """The file as a whole cannot be read; the message says why."""


@dataclass(frozen=True, slots=True)
class Row:
    """`line`: in a text file the line, counted from 1; in Parquet the row. `done`: how far the
    file has been read, in the unit of `RowFile.size`."""

    line: int
    raw: bytes
    done: int


@dataclass(frozen=True, slots=True)
class RowFile:
    """`size`: bytes of a text file, rows of a Parquet file; for showing progress."""

    size: int
    rows: Callable[[], Iterator[Row]]


def open_rows(path: Path, max_bytes: int) -> RowFile:
    """The format is told by the name: .csv, .parquet, else NDJSON. Raises UnreadableError.

    A line longer than `max_bytes` is cut there, so that memory is bounded.
    """
    if not path.is_file():
        raise UnreadableError(f"{path} is not a file")
    if path.suffix == ".parquet":
        return _parquet(path)
    read = _csv if path.suffix == ".csv" else _ndjson
    return RowFile(path.stat().st_size, lambda: read(path, max_bytes))


def _ndjson(path: Path, max_bytes: int) -> Iterator[Row]:
    with path.open("rb") as file:
        if file.read(len(_BOM)) != _BOM:
            file.seek(0)
        for number, line in enumerate(_lines(file, max_bytes), start=1):
            if raw := line.strip():
                yield Row(number, raw, file.tell())


def _lines(file: BinaryIO, max_bytes: int) -> Iterator[bytes]:
    while line := file.readline(max_bytes + 2):
        rest = line
        while len(rest) == max_bytes + 2 and not rest.endswith(b"\n"):
            rest = file.readline(max_bytes + 2)
        yield line


def _csv(path: Path, max_bytes: int) -> Iterator[Row]:
    csv.field_size_limit(max_bytes)
    with path.open("rb") as file:
        text = (line.decode("utf-8-sig") for line in file)
        reader = csv.reader(text, strict=True)
        try:
            header = next(reader, [])
            for cells in reader:
                if len(cells) > len(header):
                    raise UnreadableError(
                        f"{path}:{reader.line_num}: {len(cells)} cells under {len(header)} columns"
                    )
                if any(cells):
                    columns = {n: _typed(n, c) for n, c in zip(header, cells, strict=False) if c}
                    yield Row(reader.line_num, _json(columns), file.tell())
        except (csv.Error, UnicodeDecodeError) as error:
            line = reader.line_num
            raise UnreadableError(f"{path}:{line}: not CSV in UTF-8: {error}") from error


def _typed(column: str, cell: str) -> object:
    if column in _TIMES and _EPOCH_MS.fullmatch(cell):
        return int(cell)
    if column.startswith(("properties.", "traits.")):
        if cell in ("true", "false"):
            return cell == "true"
        if match := _NUMBER.fullmatch(cell):
            return float(cell) if match[2] else int(cell)
    return cell


def _parquet(path: Path) -> RowFile:
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise UnreadableError(f"{path} is not Parquet: {error}") from error
    return RowFile(file.metadata.num_rows, lambda: _parquet_rows(file))


def _parquet_rows(file: pq.ParquetFile) -> Iterator[Row]:
    number = 0
    for batch in file.iter_batches(_BATCH_ROWS):
        for columns in batch.to_pylist(maps_as_pydicts="lossy"):
            number += 1
            given = {name: value for name, value in columns.items() if not _is_empty(value)}
            yield Row(number, _json(given), number)


def _is_empty(value: object) -> bool:
    """Null, or NaN, which some tools write for it."""
    return value is None or (isinstance(value, float) and isnan(value))


def _json(columns: Mapping[str, Any]) -> bytes:
    record: dict[str, Any] = {}
    for column, value in columns.items():
        first, dot, rest = column.partition(".")
        if dot:
            record.setdefault(first, {})[rest] = value
        elif column in _OBJECTS and isinstance(value, str):
            record[column] = _parsed(value)
        else:
            record[column] = value
    if isinstance(named := record.get("identifiers"), dict):
        record["identifiers"] = [
            {"namespace": name, "value": str(value)}
            for name, value in named.items()
            if not _is_empty(value)
        ]
    return msgspec.json.encode(record)


def _parsed(text: str) -> object:
    """What is no JSON stays text, and is refused where an object belongs."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text
