"""Offsets that can be committed: below them all records are done."""

from collections import Counter
from collections.abc import Iterable
from threading import Lock

from pipeline.adapters.kafka import Partition


class OffsetProgress:
    """Progress per partition, shared by the reading thread and the delivering loop.

    Records of one partition start in the order of their offsets, and may be done in any order. One
    that is done counts as in flight until all earlier ones are done.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._uncommittable_offsets: dict[Partition, dict[int, bool]] = {}
        self._next_offsets: dict[Partition, int] = {}

    def start(self, partition: Partition, offset: int) -> None:
        """Mark a record as in flight."""
        with self._lock:
            self._uncommittable_offsets.setdefault(partition, {})[offset] = False

    def mark_done(self, partition: Partition, offset: int) -> None:
        """Mark a record as done, unless its partition was dropped by `drop_partitions`."""
        with self._lock:
            offsets = self._uncommittable_offsets.get(partition, {})
            if offset not in offsets:
                return
            offsets[offset] = True
            while offsets and offsets[first_offset := next(iter(offsets))]:
                del offsets[first_offset]
                self._next_offsets[partition] = first_offset + 1

    def take_next_offsets(self) -> dict[Partition, int]:
        """Return the offset to commit of each partition with progress since the last call."""
        with self._lock:
            next_offsets, self._next_offsets = self._next_offsets, {}
            return next_offsets

    def drop_partitions(self, partitions: Iterable[Partition]) -> None:
        """Drop the progress of partitions that another process now reads."""
        with self._lock:
            for partition in partitions:
                self._uncommittable_offsets.pop(partition, None)
                self._next_offsets.pop(partition, None)

    def has_in_flight(self, partitions: Iterable[Partition]) -> bool:
        """Return whether records of these partitions are in flight."""
        with self._lock:
            return any(self._uncommittable_offsets.get(partition) for partition in partitions)

    def in_flight_counts(self) -> Counter[str]:
        """Count the records in flight by topic."""
        with self._lock:
            counts: Counter[str] = Counter()
            for (topic, _), offsets in self._uncommittable_offsets.items():
                counts[topic] += len(offsets)
            return counts
