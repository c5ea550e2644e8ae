"""Records, headers and committed offsets, as librdkafka exchanges them with a broker."""

from collections.abc import Sequence
from typing import Protocol

from confluent_kafka import KafkaError
from msgspec import Struct

Headers = Sequence[tuple[str, bytes]]


class NotedOffset(Struct, frozen=True):
    """Committed offset with the note of its commit; empty: there is none."""

    offset: int
    note: str = ""


class Record(Protocol):
    """Message of confluent_kafka whose topic, partition and offset are not None."""

    def __len__(self) -> int:
        """Return the bytes of the value."""
        ...

    def topic(self) -> str: ...
    def partition(self) -> int: ...
    def offset(self) -> int: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def error(self) -> KafkaError | None: ...

    def headers(self) -> list[tuple[str, bytes]] | None: ...

    def timestamp(self) -> tuple[int, int]:
        """Return the kind of timestamp and its milliseconds."""
        ...
