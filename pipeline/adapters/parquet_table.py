"""Parquet files written in chunks of rows, in bounded memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

_CHUNK_ROW_COUNT: Final = 10_000

ParquetRow: TypeAlias = dict[str, Any]


class ParquetTable:
    """File open for writing; `row_count` counts its rows."""

    def __init__(self, writer: pq.ParquetWriter, schema: pa.Schema) -> None:
        self.row_count = 0
        self._writer = writer
        self._schema = schema
        self._chunk: list[ParquetRow] = []

    def add(self, row: ParquetRow) -> None:
        """Add a row to the chunk; write a full chunk."""
        self.row_count += 1
        self._chunk.append(row)
        if len(self._chunk) == _CHUNK_ROW_COUNT:
            self.write()

    def write(self) -> None:
        """Write the chunk, full or not."""
        self._writer.write_table(pa.Table.from_pylist(self._chunk, self._schema))
        self._chunk = []


@contextmanager
def open_table(file: Path, schema: pa.Schema) -> Iterator[ParquetTable]:
    """Create or replace the file, which is complete when the context ends."""
    with pq.ParquetWriter(file, schema) as writer:
        table = ParquetTable(writer, schema)
        yield table
        table.write()
