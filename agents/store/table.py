"""Faust table of bytes with cheap reads and writes."""

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

import faust
from faust.streams import current_event

from agents.store.partition import PartitionStore, Row
from agents.store.store import RocksStore
from agents.transport.producer import Producer


class RawTable(faust.Table[bytes, bytes]):
    """Table of bytes; every write is also a record of the changelog.

    `get`, `put`, `delete` and `scan` work on the partition of the event being processed; their
    `_in` forms take the partition as an argument. All raise KeyError for a partition
    that this worker does not own. A write is in the changelog once the commit of its event has
    succeeded.
    """

    def __init__(self, app: faust.App, *, name: str, partitions: int, **options: Any) -> None:
        super().__init__(
            app,
            name=name,
            partitions=partitions,
            key_type=bytes,
            value_type=bytes,
            **options,
        )

    def get(  # type: ignore[override]
        self, key: bytes, default: bytes | None = None
    ) -> bytes | None:
        """Return the value of `key`, or `default`."""
        value = self.get_in(_current_partition(), key)
        return default if value is None else value

    def put(self, key: bytes, value: bytes) -> None:
        """Set `key`."""
        self.put_in(_current_partition(), key, value)

    def delete(self, key: bytes) -> None:
        """Delete `key`, if it exists."""
        self.delete_in(_current_partition(), key)

    def scan(self, prefix: bytes) -> Iterator[Row]:
        """Yield the rows whose key begins with `prefix`, in key order."""
        return self.scan_in(_current_partition(), prefix)

    def get_in(self, partition: int, key: bytes) -> bytes | None:
        """Return the value of `key` in `partition`, or None."""
        return self._partition_stores[partition].get(key)

    def put_in(self, partition: int, key: bytes, value: bytes) -> None:
        """Set `key` in `partition`."""
        self._partition_stores[partition].put(key, value)
        self._producer.send_changelog(self._topic_name, key, value, partition)

    def delete_in(self, partition: int, key: bytes) -> None:
        """Delete `key` in `partition`."""
        self._partition_stores[partition].put(key, None)
        self._producer.send_changelog(self._topic_name, key, None, partition)

    def scan_in(self, partition: int, prefix: bytes) -> Iterator[Row]:
        """Yield the rows of `partition` whose key begins with `prefix`, in key order."""
        return self._partition_stores[partition].scan(prefix)

    def compact(self, partitions: Iterable[int]) -> None:
        """Compact those of `partitions` that this worker still owns, one after the other.

        It removes deleted and overwritten values from the disk, takes a while, and may be called in
        any thread.
        """
        for partition in partitions:
            store = self._partition_stores.get(partition)
            if store is not None:
                store.compact()

    @property
    def owned_partitions(self) -> frozenset[int]:
        """Partitions that this worker owns."""
        return frozenset(self._partition_stores)

    @cached_property
    def _partition_stores(self) -> dict[int, PartitionStore]:
        store = self.data
        if not isinstance(store, RocksStore):
            raise TypeError(f"table {self.name} needs a store with separate partitions")
        return store.partitions

    @cached_property
    def _topic_name(self) -> str:
        return self.changelog_topic_name

    @cached_property
    def _producer(self) -> Producer:
        producer = self.app.producer
        if not isinstance(producer, Producer):
            raise TypeError(f"table {self.name} needs the transport of agents.transport")
        return producer


def _current_partition() -> int:
    event = current_event()
    if event is None:
        raise TypeError("a table is used outside of an event: name the partition")
    return event.message.partition
