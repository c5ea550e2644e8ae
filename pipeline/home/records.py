"""Topics as typed records: Kafka and Avro together, for programs that only read."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from msgspec import Struct

from pipeline.adapters.avro import Codec
from pipeline.adapters.snapshots import NO_START_OFFSETS, StoredRecord, scan
from pipeline.home.codec import open_codec
from pipeline.settings import Settings

T = TypeVar("T", bound=Struct)


@dataclass(frozen=True, slots=True)
class Records:
    """Reader of whole topics; records that cannot be decoded are left out."""

    settings: Settings
    codec: Codec

    @classmethod
    def of(cls, settings: Settings) -> "Records":
        """Return the reader of the cluster that the settings name."""
        return cls(settings, open_codec(settings))

    def read_all(
        self,
        topic: str,
        kind: type[T],
        is_wanted: Callable[[StoredRecord], bool] = lambda _: True,
        start: Mapping[int, int] = NO_START_OFFSETS,
    ) -> Iterator[tuple[StoredRecord, T]]:
        """Yield the records for which `is_wanted`, called before decoding, returns True, in the
        order of each partition.

        `start`: the first offset of partitions that are not read from their beginning.
        """
        for stored_record in scan(self.settings.kafka(), topic, dict(start)):
            if (
                is_wanted(stored_record)
                and (record := self._decode(topic, kind, stored_record)) is not None
            ):
                yield stored_record, record

    def read_last(self, topic: str, kind: type[T], key: str) -> T | None:
        """Return the last record of one key; None if it is a tombstone, or there is none."""
        matches = [
            stored_record
            for stored_record in scan(self.settings.kafka(), topic)
            if stored_record.key == key
        ]
        return self._decode(topic, kind, matches[-1]) if matches else None

    def _decode(self, topic: str, kind: type[T], stored_record: StoredRecord) -> T | None:
        if stored_record.value is None:
            return None
        record = self.codec.decode(topic, stored_record.value)
        return record if isinstance(record, kind) else None
