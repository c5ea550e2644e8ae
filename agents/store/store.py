"""Faust store driver: the partitions of one table that this worker owns."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from faust.stores.base import SerializedStore
from faust.streams import current_event
from faust.types import TP, EventT

from agents.store.partition import PartitionStore, StoreSize

SCHEME = "kairos-rocksdb"


class RocksStore(SerializedStore[Any, Any]):
    """Rows of a table in one RocksDB per partition, under the app's data directory.

    Faust's own mapping interface works on the partition of the event being processed.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.partitions: dict[int, PartitionStore] = {}
        self._directory = Path(self.app.conf.datadir) / self.table_name

    def assign(self, partitions: Iterable[int]) -> None:
        """Own exactly `partitions`: close the others, open the missing ones."""
        numbers = set(partitions)
        for number in self.partitions.keys() - numbers:
            self.partitions.pop(number).close()
        for number in numbers - self.partitions.keys():
            self.partitions[number] = PartitionStore(self._directory / str(number))

    def cut(self) -> None:
        """Close the set of writes that the next `persist` puts on disk."""
        for partition in self.partitions.values():
            partition.cut()

    def persist(self, next_offsets: Mapping[int, int]) -> None:
        """Put the writes before the cut on disk with their partition's changelog offset."""
        for number, partition in self.partitions.items():
            partition.persist(next_offsets.get(number))

    def sizes(self) -> dict[int, StoreSize]:
        """Return each partition's size."""
        return {number: partition.size() for number, partition in self.partitions.items()}

    async def on_stop(self) -> None:
        """Close every partition."""
        self.assign(())

    def persisted_offset(self, tp: TP) -> int | None:
        """Refuse: each partition has its own offset."""
        raise NotImplementedError("each partition has its own offset")

    def reset_state(self) -> None:
        """Refuse: the restoration resets partitions."""
        raise NotImplementedError("the restoration resets partitions")

    def apply_changelog_batch(
        self, batch: Iterable[EventT[Any]], to_key: object, to_value: object
    ) -> None:
        """Refuse: tables are restored from their changelogs."""
        raise NotImplementedError("tables are restored from their changelogs")

    async def backup_partition(
        self, tp: TP | int, flush: bool = True, purge: bool = False, keep: int = 1
    ) -> None:
        """Refuse: the changelog is the backup."""
        raise NotImplementedError("the changelog is the backup of a table")

    def restore_backup(self, tp: TP | int, latest: bool = True, backup_id: int = 0) -> None:
        """Refuse: tables are restored from their changelogs."""
        raise NotImplementedError("tables are restored from their changelogs")

    def _current_store(self) -> PartitionStore:
        event = current_event()
        if event is None:
            raise TypeError(f"table {self.table_name} is used outside of an event")
        return self.partitions[event.message.partition]

    def _get(self, key: bytes) -> bytes | None:
        return self._current_store().get(key)

    def _set(self, key: bytes, value: bytes | None) -> None:
        self._current_store().put(key, value)

    def _del(self, key: bytes) -> None:
        self._current_store().put(key, None)

    def _contains(self, key: bytes) -> bool:
        return self._current_store().get(key) is not None

    def _iteritems(self) -> Iterator[tuple[bytes, bytes]]:
        for partition in self.partitions.values():
            yield from partition.scan()

    def _iterkeys(self) -> Iterator[bytes]:
        return (key for key, _ in self._iteritems())

    def _itervalues(self) -> Iterator[bytes | None]:
        return (value for _, value in self._iteritems())

    def _size(self) -> int:
        return sum(1 for _ in self._iteritems())

    def _clear(self) -> None:
        for partition in self.partitions.values():
            for key, _ in partition.scan():
                partition.put(key, None)
