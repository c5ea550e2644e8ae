"""Interactions of a replayed topic, as `kairos replay --topic interactions` wrote them.

The intake accepted them before they were written to the topic, so they are played unchanged,
including their requests for placements.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.intake.decoding import decode
from pipeline.intake.refusal import Refusal
from pipeline.model.interaction import Interaction
from pipeline.row_files.row import FileRow, ReadRow, RowFile, UnreadableError, UnreadableRow

_OFFSET: Final = "kafka_offset"
_ERROR: Final = "kafka_error"
_TOMBSTONE: Final = "kafka_tombstone"
_PROPERTIES: Final = "properties"
_INTERACTION_COLUMNS: Final = tuple(field.name for field in msgspec.structs.fields(Interaction))
_REQUIRED_COLUMNS: Final = tuple(
    field.name for field in msgspec.structs.fields(Interaction) if field.required
)
_BATCH_ROWS: Final = 2_000
_READ_ERRORS: Final = (OSError, pa.ArrowException)
_INTERACTION_DECODER: Final = msgspec.json.Decoder(Interaction)


class InteractionIntake:
    """Intake of rows that are interactions already."""

    def take_in(self, row: FileRow) -> Interaction | Refusal:
        """Return the row's interaction, or the refusal of a row that is not one."""
        return decode(row.raw, _INTERACTION_DECODER)


def is_replayed(path: Path) -> bool:
    """Return whether the file is a part of a replayed topic."""
    if path.suffix.lower() != ".parquet":
        return False
    try:
        return _OFFSET in pq.read_schema(path).names
    except _READ_ERRORS:
        return False


def open_part(path: Path) -> RowFile:
    """Open a part of a replayed topic. Raises UnreadableError for a topic without interactions."""
    file = pq.ParquetFile(path, pre_buffer=False)
    names = file.schema_arrow.names
    missing_columns = [name for name in _REQUIRED_COLUMNS if name not in names]
    if missing_columns:
        raise UnreadableError(
            f"{path} is a replay of another topic than interactions: it has no column "
            f"{missing_columns[0]!r}"
        )
    return RowFile(file.metadata.num_rows, lambda: _rows(path, file))


def _rows(path: Path, file: pq.ParquetFile) -> Iterator[ReadRow]:
    names = [*_INTERACTION_COLUMNS, _ERROR, _TOMBSTONE]
    columns = [name for name in file.schema_arrow.names if name in names]
    number = 0
    try:
        for batch in file.iter_batches(_BATCH_ROWS, columns=columns):
            for row in _convert_timestamps(batch).to_pylist(maps_as_pydicts="strict"):
                number += 1
                yield _row(number, row)
    except _READ_ERRORS as error:
        raise UnreadableError(f"{path}: after row {number:,}: {error}") from error


def _row(number: int, row: dict[str, Any]) -> ReadRow:
    reason = row.pop(_ERROR, None)
    if row.pop(_TOMBSTONE, False):
        reason = "it deletes a key"
    if reason is not None:
        return UnreadableRow(
            number, "no_interaction", None, f"is not an interaction: {reason}", number
        )
    values = {name: value for name, value in row.items() if value is not None}
    if _PROPERTIES in values:
        values[_PROPERTIES] = msgspec.Raw(values[_PROPERTIES].encode())
    return FileRow(number, msgspec.json.encode(values), number)


def _convert_timestamps(batch: pa.RecordBatch) -> pa.Table:
    """Convert timestamps, also those in structs, to epoch milliseconds."""
    table = pa.Table.from_batches([batch])
    return table.cast(
        pa.schema([(field.name, _replace_timestamp_types(field.type)) for field in table.schema])
    )


def _replace_timestamp_types(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind):
        return pa.int64()
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _replace_timestamp_types(field.type)) for field in kind])
    return kind
