"""Latest records of a compacted topic."""

from collections.abc import Iterable, Mapping
from typing import TypeVar

from msgspec import Struct

from pipeline.adapters.snapshots import StoredRecord, scan
from pipeline.home.records import Records

T = TypeVar("T", bound=Struct)


def latest(kafka: Mapping[str, str | int | float | bool], topic: str) -> dict[str, StoredRecord]:
    """Return the last record of each key of a compacted topic; keys with a tombstone are left
    out."""
    return last_of_each(scan(kafka, topic))


def last_of_each(records: Iterable[StoredRecord]) -> dict[str, StoredRecord]:
    """Return the last record of each key among these; keys with a tombstone are left out."""
    last: dict[str, StoredRecord] = {}
    for record in records:
        if record.value is None:
            last.pop(record.key, None)
        else:
            last[record.key] = record
    return last


def latest_records(records: Records, topic: str, kind: type[T]) -> dict[str, T]:
    """Return the last record of each key, decoded; keys with a tombstone are left out."""
    last_records = latest(records.settings.kafka(), topic)
    records_by_key = {
        k: records.codec.decode(topic, record.value)
        for k, record in last_records.items()
        if record.value
    }
    return {key: record for key, record in records_by_key.items() if isinstance(record, kind)}
