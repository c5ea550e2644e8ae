"""What a stage's shell needs of the world, so that it runs under Faust and in tests alike."""

from collections.abc import Collection, Iterator, Sequence
from typing import Protocol

from msgspec import Struct


class Message(Struct, frozen=True):
    """One input record. `raw_key` None: the sender gave none."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    raw_key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]

    @property
    def key(self) -> bytes:
        """The key, empty when there is none."""
        return self.raw_key or b""

    @property
    def size(self) -> int:
        """Bytes of key and value."""
        return len(self.raw_key or b"") + len(self.value or b"")


class Rows(Protocol):
    """The rows of one table, by partition. A write is visible at once, and in the changelog when
    the commit that covers the input succeeds."""

    def get_in(self, partition: int, key: bytes) -> bytes | None: ...

    def put_in(self, partition: int, key: bytes, value: bytes) -> None: ...

    def delete_in(self, partition: int, key: bytes) -> None: ...

    def scan_in(self, partition: int, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Rows whose key begins with `prefix`, in key order."""


class Ports(Protocol):
    """Raises what the transport raises; a stage does not go on without it."""

    @property
    def table(self) -> Rows: ...

    @property
    def partitions(self) -> Collection[int]:
        """Those that are this worker's, with their rows as they were left; none while it is
        being decided whose they are."""

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]],
        partition: int,
    ) -> None:
        """Hand a record that follows from rows of `partition` to the producer; the input's commit
        waits for its delivery."""

    def waiting(self, partition: int) -> int | None:
        """How many inputs of `partition` stood in the log a tenth of a second ago (where it is not
        read at the moment: a second, or some) and are not processed, of this stage and of those
        after it in its process; None: it is not known yet."""

    async def settle(self) -> None:
        """Have everything so far delivered and its inputs committed, unless they cannot be now,
        while a group changes."""

    def committed(self, topic: str, partition: int) -> int:
        """The offset from which the partition would be read again after a kill."""

    def partition_of(self, topic: str, key: bytes) -> int:
        """The partition in which records with this key belong."""
