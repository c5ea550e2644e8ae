"""Latest records of a compacted topic."""

from collections.abc import Iterable, Mapping
from typing import TypeVar

from msgspec import Struct

from pipeline.adapters.snapshots import StoredRecord, scan
from pipeline.home.records import Records

T = TypeVar("T", bound=Struct)


def latest_stored_records(
    kafka: Mapping[str, str | int | float | bool], topic: str
) -> dict[str, StoredRecord]:
    """Return the latest record of each key of a compacted topic; keys with a tombstone are left
    out."""
    return compact(scan(kafka, topic))


def compact(records: Iterable[StoredRecord]) -> dict[str, StoredRecord]:
    """Return the latest of these records by key; keys with a tombstone are left out."""
    latest: dict[str, StoredRecord] = {}
    for record in records:
        if record.value is None:
            latest.pop(record.key, None)
        else:
            latest[record.key] = record
    return latest


def latest_records(records: Records, topic: str, kind: type[T]) -> dict[str, T]:
    """Return the latest record of each key, decoded; keys with a tombstone are left out."""
    stored_records = latest_stored_records(records.settings.kafka(), topic)
    records_by_key = {
        k: records.codec.decode(topic, record.value)
        for k, record in stored_records.items()
        if record.value
    }
    return {key: record for key, record in records_by_key.items() if isinstance(record, kind)}
