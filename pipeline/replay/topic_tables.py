"""Records of a topic as tables of Arrow, one for each day.

The tables have the record's own columns and those of its place: `kafka_partition`, `kafka_offset`,
`kafka_at` (when the broker wrote it), `kafka_key`, `kafka_tombstone` (the record deletes its key)
and `kafka_error` (the reason why the bytes cannot be decoded).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from typing import Any, Final, TypeAlias

import pyarrow as pa
from confluent_kafka import Message

from pipeline.adapters.avro import Codec, MalformedRecord
from pipeline.adapters.kafka import offset_of, source_partition
from pipeline.model.time import DAY_MS
from pipeline.replay.columns import columns_of, record_converter
from pipeline.replay.manifest import Selection

_TIME: Final = pa.timestamp("ms", tz="UTC")
_PLACE_COLUMNS: Final = (
    ("kafka_partition", pa.int32()),
    ("kafka_offset", pa.int64()),
    ("kafka_at", _TIME),
    ("kafka_key", pa.string()),
    ("kafka_tombstone", pa.bool_()),
    ("kafka_error", pa.string()),
)
_OWN_TIMES: Final = (
    "received_at", "decided_at", "created_at", "updated_at", "applied_at", "at",
)  # fmt: skip
"""Fields with a record's own time, in the order of preference."""

_SECTIONS: Final = ("control", "interaction")
_FIRST_DAY: Final = date(1970, 1, 1).toordinal()
_LAST_DAY: Final = date.max.toordinal()

_Row: TypeAlias = dict[str, Any]


class DayTables:
    """Converter of one topic's records to tables.

    `unreadable_records`: number of records that cannot be decoded; `left_out_records`: number of
    records whose time is outside of the selection.
    """

    def __init__(self, selection: Selection, codec: Codec) -> None:
        columns = columns_of(codec.schema(selection.topic))
        self.unreadable_records = 0
        self.left_out_records = 0
        self._selection = selection
        self._codec = codec
        self._convert = record_converter(columns)
        self._schema = pa.schema(
            [*((name, column.kind) for name, column in columns.items()), *_PLACE_COLUMNS]
        )

    def split(self, messages: Iterable[Message]) -> Iterator[tuple[str, pa.Table]]:
        """Yield a table of the selected records of each day (ISO 8601)."""
        days: defaultdict[str, list[_Row]] = defaultdict(list)
        for message in messages:
            row = self._row(message)
            time_ms = time_of(row)
            if self._is_selected(time_ms):
                days[day_of(time_ms)].append(row)
            else:
                self.left_out_records += 1
        for day, rows in days.items():
            yield day, pa.Table.from_pylist(rows, self._schema)

    def _is_selected(self, time_ms: int) -> bool:
        since, until = self._selection.since, self._selection.until
        return (since is None or time_ms >= since) and (until is None or time_ms < until)

    def _row(self, message: Message) -> _Row:
        result = self._decode(message.value())
        row: _Row = {} if isinstance(result, MalformedRecord) else result
        if row and self._convert is not None:
            row = self._convert(row)
        row["kafka_partition"] = source_partition(message)[1]
        row["kafka_offset"] = offset_of(message)
        row["kafka_at"] = message.timestamp()[1]
        row["kafka_key"] = (message.key() or b"").decode(errors="replace")
        row["kafka_tombstone"] = message.value() is None
        if isinstance(result, MalformedRecord):
            self.unreadable_records += 1
            row["kafka_error"] = f"{result.reason}: {result.detail}"
        return row

    def _decode(self, value: bytes | None) -> _Row | MalformedRecord:
        return {} if value is None else self._codec.decode_fields(self._selection.topic, value)


def time_of(row: Mapping[str, Any]) -> int:
    """Return a record's own time (epoch ms); for a record without one, the time of writing."""
    for section in (row, *(row.get(name) or {} for name in _SECTIONS)):
        for name in _OWN_TIMES:
            time_ms = section.get(name)
            if isinstance(time_ms, int):
                return time_ms
    kafka_at: int = row["kafka_at"]
    return kafka_at


def day_of(time_ms: int) -> str:
    """Return the UTC day (ISO 8601) of a time (epoch ms); times outside of the calendar are in its
    first or last day."""
    ordinal = _FIRST_DAY + time_ms // DAY_MS
    return date.fromordinal(min(max(ordinal, 1), _LAST_DAY)).isoformat()
