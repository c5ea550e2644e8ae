"""Reader of Parquet: columns or nested fields become records, in batches that fit in memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as kinds

from pipeline.row_files.arrow_values import NoValue, values
from pipeline.row_files.columns import Columns, columns_of
from pipeline.row_files.fault import Fault
from pipeline.row_files.row import (
    FileFormat,
    FileRow,
    ReadRow,
    RowFile,
    UnreadableError,
    UnreadableRow,
)

_MAX_ROWS: Final = 10_000
_BATCH_BYTES: Final = 16 * 1024 * 1024
"""Size of an unpacked batch, estimated by the average row."""

_TEXTS: Final = (kinds.is_string, kinds.is_large_string, kinds.is_binary, kinds.is_large_binary)

_READ_ERRORS: Final = (OSError, pa.ArrowException, UnicodeDecodeError)
"""Errors of a damaged file; UnicodeDecodeError: in a column name."""


def parquet_file(path: Path, file_format: FileFormat) -> RowFile:
    """Open a Parquet file. Raises UnreadableError for another format, or invalid columns."""
    try:
        file = _open(path)
        names = file.schema_arrow.names
    except _READ_ERRORS as error:
        raise UnreadableError(f"{path} is not Parquet: {error}") from error
    try:
        columns = columns_of(names, file_format)
    except UnreadableError as error:
        raise UnreadableError(f"{path}: {error}") from None
    return RowFile(file.metadata.num_rows, lambda: _rows(file, columns))


def _open(path: Path) -> pq.ParquetFile:
    """Open a file so that a repeated text is in memory only once; otherwise a small file could fill
    the memory."""
    file = pq.ParquetFile(path, pre_buffer=False)
    texts = [field.name for field in file.schema_arrow if _is_text(field.type)]
    return pq.ParquetFile(path, pre_buffer=False, read_dictionary=texts)


def _is_text(kind: pa.DataType) -> bool:
    return any(is_kind(kind) for is_kind in _TEXTS)


def _rows(file: pq.ParquetFile, columns: Columns) -> Iterator[ReadRow]:
    """Read all rows; a damaged row group loses the rest of its rows, not the next group's."""
    start = 0
    for group in range(file.metadata.num_row_groups):
        number, end = start, start + file.metadata.row_group(group).num_rows
        try:
            for batch in file.iter_batches(_rows_per_batch(file, group), row_groups=[group]):
                for row in _read_batch(batch, columns, number):
                    number = row.line
                    yield row
        except _READ_ERRORS as error:
            reason = str(error)
        else:
            reason = "it has fewer rows than its metadata gives"
        if number < end:
            message = f"this and the rest of the row group are damaged: {reason}"
            yield UnreadableRow(number + 1, "damaged", None, message, end, rows=end - number)
        start = end


def _rows_per_batch(file: pq.ParquetFile, group: int) -> int:
    metadata = file.metadata.row_group(group)
    row_bytes: int = max(1, metadata.total_byte_size // max(1, metadata.num_rows))
    return max(1, min(_MAX_ROWS, _BATCH_BYTES // row_bytes))


def _read_batch(batch: pa.RecordBatch, columns: Columns, offset: int) -> Iterator[ReadRow]:
    cells_by_column = [
        (name, values(array))
        for name, array in zip(columns.names, batch.columns, strict=True)
        if name is not None
    ]
    for index in range(batch.num_rows):
        number = offset + index + 1
        pairs = [
            (name, cells[index]) for name, cells in cells_by_column if cells[index] is not None
        ]
        yield _row(number, pairs, columns)


def _row(number: int, pairs: list[tuple[str, object]], columns: Columns) -> ReadRow:
    for name, value in pairs:
        if isinstance(value, NoValue):
            return UnreadableRow(number, "invalid_value", name, f"{name}: {value.reason}", number)
    record = columns.record(pairs)
    if isinstance(record, Fault):
        return UnreadableRow(number, record.code, record.column, record.message, number)
    identifier_columns = tuple(name for name, _ in pairs if name.startswith("identifiers."))
    return FileRow(number, record, number, identifier_columns)
