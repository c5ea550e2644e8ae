"""Ports: the interfaces through which a stage's shell reaches Kafka and its rows."""

from collections.abc import Collection, Iterator, Sequence
from typing import Protocol

from msgspec import Struct


class Message(Struct, frozen=True):
    """Input record. `raw_key` None: it has no key."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    raw_key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]

    @property
    def key(self) -> bytes:
        """Key; empty when there is none."""
        return self.raw_key or b""

    @property
    def size(self) -> int:
        """Size of key and value in bytes."""
        return len(self.raw_key or b"") + len(self.value or b"")


class Rows(Protocol):
    """Rows of one table, by partition.

    A write is visible at once; it is in the changelog once the commit of its input has succeeded.
    """

    def get_in(self, partition: int, key: bytes) -> bytes | None: ...

    def put_in(self, partition: int, key: bytes, value: bytes) -> None: ...

    def delete_in(self, partition: int, key: bytes) -> None: ...

    def scan_in(self, partition: int, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the rows whose key begins with `prefix`, in key order."""


class Ports(Protocol):
    """Ports of one stage. Errors are the transport's, and end the stage."""

    @property
    def table(self) -> Rows: ...

    @property
    def partitions(self) -> Collection[int]:
        """Partitions that this worker owns, with restored rows; none during a rebalance."""

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]],
        partition: int,
    ) -> None:
        """Hand a record that follows from rows of `partition` to the producer.

        The input's commit waits for its delivery.
        """

    def backlog(self, partition: int) -> int | None:
        """Return the number of unprocessed inputs of `partition`; None if not known yet.

        It counts inputs of this stage and of the later ones in its process, as of 0.1 s ago, or
        some seconds ago for a partition that is not being read.
        """

    async def flush_and_commit(self) -> None:
        """Wait until all records sent so far are acknowledged, then commit their inputs.

        Commits nothing during a rebalance.
        """

    def committed_offset(self, topic: str, partition: int) -> int:
        """Return the offset at which reading the partition resumes after a kill."""

    def partition_of(self, topic: str, key: bytes) -> int:
        """Return the partition in which records with this key belong."""
