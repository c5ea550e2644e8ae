"""Common types and settings of Kafka's clients, and a producer for asyncio programs."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from threading import Thread
from typing import Final, TypeAlias

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from pipeline.adapters.murmur2 import murmur2_partition

Property: TypeAlias = str | int | float | bool
"""Setting of librdkafka."""
Partition: TypeAlias = tuple[str, int]
"""Topic and partition number."""

RESERVED_SETTINGS: Final = frozenset({
    "acks", "request.required.acks", "enable.idempotence", "transactional.id", "partitioner",
    "delivery.report.only.error",
    "group.id", "group.instance.id", "group.protocol", "partition.assignment.strategy",
    "enable.auto.commit", "auto.commit.enable", "enable.auto.offset.store",
    "auto.offset.reset", "isolation.level", "enable.partition.eof", "allow.auto.create.topics",
})  # fmt: skip
"""Client settings that users cannot change: other values would lose, duplicate or reorder records,
or put them into other partitions."""

WRITER_SETTINGS: Final[Mapping[str, Property]] = {
    "acks": "all",
    "enable.idempotence": True,
    "delivery.report.only.error": False,
    "partitioner": "murmur2",
}
"""Settings of every producer except the agents'; they take precedence over a user's."""

_POLL_S: Final = 0.1
_FLUSH_S: Final = 10.0
_MAX_QUEUED_RECORDS: Final = 20_000


@dataclass(frozen=True, slots=True)
class OutgoingRecord:
    """Record to write; the key's murmur2 hash chooses the partition if none is given."""

    topic: str
    key: str | bytes
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    partition: int = -1


@dataclass(frozen=True, slots=True)
class UnacknowledgedWrite:
    """Write that Kafka did not acknowledge; some of its records may be stored nevertheless."""

    detail: str


def partition_for_key(key: str, partition_count: int) -> int:
    """Return the partition of `key` that Java's producers and Kairos choose."""
    return murmur2_partition(key.encode(), partition_count)


def key_per_partition(name: str, partition_count: int) -> tuple[str, ...]:
    """Return a key `name:…` for each partition, in the order of partitions."""
    keys: dict[int, str] = {}
    for number in count():
        if len(keys) == partition_count:
            break
        key = f"{name}:{number}"
        keys.setdefault(partition_for_key(key, partition_count), key)
    return tuple(keys[partition] for partition in range(partition_count))


def source_partition(message: Message) -> Partition:
    """Return the partition of a polled message."""
    topic, partition = message.topic(), message.partition()
    assert topic is not None
    assert partition is not None
    return topic, partition


def is_partition_end(message: Message) -> bool:
    """Return whether a polled message marks its partition's end. Raises KafkaException."""
    error = message.error()
    if error is None:
        return False
    if error.code() == KafkaError._PARTITION_EOF:
        return True
    raise KafkaException(error)


def offset_of(message: Message) -> int:
    """Return the offset of a polled message."""
    offset = message.offset()
    assert offset is not None
    return offset


class AsyncPublisher:
    """Idempotent producer with acks=all, owned by one event loop.

    One thread serves delivery reports and wakes the loop once per batch of them. `on_fatal` is
    called in the loop when the producer can never write again: the process must end.
    """

    def __init__(
        self, client: Mapping[str, Property], timeout_ms: int, on_fatal: Callable[[str], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_fatal = on_fatal
        self._completions: list[Publication] = []
        self._is_closing = False
        self._producer = Producer(
            {
                **client,
                **WRITER_SETTINGS,
                "linger.ms": 0,
                "message.timeout.ms": timeout_ms,
                "queue.buffering.max.messages": _MAX_QUEUED_RECORDS,
                "error_cb": self._on_error,
            }
        )
        self._thread = Thread(target=self._poll, name="publisher", daemon=True)
        self._thread.start()

    async def publish(self, records: Sequence[OutgoingRecord]) -> UnacknowledgedWrite | None:
        """Write the records; return None once Kafka has acknowledged all of them."""
        return await self.start(records).result if records else None

    def start(self, records: Sequence[OutgoingRecord], *, is_awaited: bool = True) -> "Publication":
        """Hand the records to the producer, and return at once.

        Where `is_awaited` is False the loop is not woken for the acknowledgement alone: the result
        is set together with the next awaited result, or after a tenth of a second. A failure is set
        at once.
        """
        if len(self._producer) + len(records) > _MAX_QUEUED_RECORDS:
            # Refused before any record is written.
            return finished_publication(UnacknowledgedWrite("too many records wait for Kafka"))
        publication = Publication(len(records), self._loop.create_future(), self._completions)
        publication.is_awaited = is_awaited
        try:
            for record in records:
                self._producer.produce(
                    record.topic,
                    record.value,
                    record.key,
                    record.partition,
                    on_delivery=publication.on_delivery,
                    headers=list(record.headers),
                )
        except BufferError:
            return finished_publication(UnacknowledgedWrite("too many records wait for Kafka"))
        except KafkaException as error:
            return finished_publication(UnacknowledgedWrite(str(error.args[0])))
        return publication

    async def close(self) -> None:
        """Deliver queued records, within a time limit."""
        await self._loop.run_in_executor(None, self._close)

    def _close(self) -> None:
        self._is_closing = True
        self._thread.join()
        self._producer.flush(_FLUSH_S)
        self._resolve_completions()

    def _poll(self) -> None:
        last_resolution_s = time.monotonic()
        while not self._is_closing:
            self._producer.poll(_POLL_S)
            is_due = time.monotonic() - last_resolution_s >= _POLL_S
            if is_due or any(publication.is_urgent for publication in self._completions):
                self._resolve_completions()
                last_resolution_s = time.monotonic()

    def _resolve_completions(self) -> None:
        if self._completions:
            completions = tuple(self._completions)
            self._completions.clear()
            self._loop.call_soon_threadsafe(_resolve, completions)

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self._loop.call_soon_threadsafe(self._on_fatal, error.str())


class Publication:
    """Records of one write, whose acknowledgements the producer's thread counts."""

    __slots__ = ("_completions", "_remaining_count", "failure", "is_awaited", "result")

    def __init__(
        self,
        record_count: int,
        result: "asyncio.Future[UnacknowledgedWrite | None]",
        completions: "list[Publication]",
    ) -> None:
        self._remaining_count = record_count
        self._completions = completions
        self.failure: UnacknowledgedWrite | None = None
        self.is_awaited = True
        self.result = result

    @property
    def is_over(self) -> bool:
        """Whether every record is acknowledged or has failed; `result` may be set later."""
        return self._remaining_count == 0

    @property
    def is_urgent(self) -> bool:
        """Whether the loop must be woken for the result."""
        return self.is_awaited or self.failure is not None

    def on_delivery(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self.failure = UnacknowledgedWrite(error.str())
        self._remaining_count -= 1
        if self._remaining_count == 0:
            self._completions.append(self)


def finished_publication(failure: UnacknowledgedWrite | None) -> Publication:
    """Return a completed publication; called in the loop."""
    publication = Publication(0, asyncio.get_running_loop().create_future(), [])
    publication.failure = failure
    publication.result.set_result(failure)
    return publication


def _resolve(publications: Sequence[Publication]) -> None:
    for publication in publications:
        if not publication.result.done():
            publication.result.set_result(publication.failure)
