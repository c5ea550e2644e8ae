"""Kafka for asyncio programs: what is written is awaited until Kafka has acknowledged it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from threading import Thread
from typing import Final, TypeAlias

from aiokafka.partitioner import murmur2
from confluent_kafka import KafkaError, KafkaException, Message, Producer

Property: TypeAlias = str | int | float | bool
"""A librdkafka setting."""
Place: TypeAlias = tuple[str, int]
"""A topic and a partition of it."""

OURS: Final = frozenset({
    "acks", "request.required.acks", "enable.idempotence", "transactional.id", "partitioner",
    "delivery.report.only.error",
    "group.id", "group.instance.id", "group.protocol", "partition.assignment.strategy",
    "enable.auto.commit", "auto.commit.enable", "enable.auto.offset.store",
    "auto.offset.reset", "isolation.level", "enable.partition.eof", "allow.auto.create.topics",
})  # fmt: skip
"""Settings of clients that nobody else may change: with others, records would be lost, processed
twice or out of order, or found in other partitions."""

WRITER: Final[Mapping[str, Property]] = {
    "acks": "all",
    "enable.idempotence": True,
    "delivery.report.only.error": False,
    "partitioner": "murmur2",
}
"""Of everything that writes, over what a user has set."""

_POLL_S: Final = 0.1
_FLUSH_S: Final = 10.0
_QUEUE_RECORDS: Final = 20_000
_POSITIVE: Final = 0x7FFFFFFF


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to write. Without `partition` the key's murmur2 hash chooses it."""

    topic: str
    key: str
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    partition: int = -1


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Kafka did not take it; some of the records may be there all the same."""

    detail: str


def partition_of(key: str, partitions: int) -> int:
    """Where Java's and our producers put `key` in a topic of so many partitions."""
    return int((murmur2(key.encode()) & _POSITIVE) % partitions)


def key_in_each(name: str, partitions: int) -> tuple[str, ...]:
    """A key `name:…` for each partition, in their order, of topics with so many."""
    found: dict[int, str] = {}
    for number in count():
        if len(found) == partitions:
            break
        key = f"{name}:{number}"
        found.setdefault(partition_of(key, partitions), key)
    return tuple(found[partition] for partition in range(partitions))


def place_of(message: Message) -> Place:
    """Where a message that was polled comes from."""
    topic, partition = message.topic(), message.partition()
    assert topic is not None
    assert partition is not None
    return topic, partition


def offset_of(message: Message) -> int:
    """Its offset there."""
    offset = message.offset()
    assert offset is not None
    return offset


class Publisher:
    """An idempotent producer with acks=all, owned by one event loop.

    One thread serves delivery reports and wakes the loop once per batch of them. `on_fatal` is
    called in the loop when the producer can never write again: the process must end.
    """

    def __init__(
        self, client: Mapping[str, Property], timeout_ms: int, on_fatal: Callable[[str], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_fatal = on_fatal
        self._settled: list[_Batch] = []
        self._closing = False
        self._producer = Producer(
            {
                **client,
                **WRITER,
                "linger.ms": 0,
                "message.timeout.ms": timeout_ms,
                "queue.buffering.max.messages": _QUEUE_RECORDS,
                "error_cb": self._failed,
            }
        )
        self._thread = Thread(target=self._poll, name="publisher", daemon=True)
        self._thread.start()

    async def publish(self, records: Sequence[Outgoing]) -> Unavailable | None:
        """None once Kafka has acknowledged every record."""
        if not records:
            return None
        if len(self._producer) + len(records) > _QUEUE_RECORDS:  # refused before any is written
            return Unavailable("too many records wait for Kafka")
        batch = _Batch(len(records), self._loop.create_future(), self._settled)
        try:
            for record in records:
                self._producer.produce(
                    record.topic,
                    record.value,
                    record.key,
                    record.partition,
                    on_delivery=batch.delivered,
                    headers=list(record.headers),
                )
        except BufferError:
            return Unavailable("too many records wait for Kafka")
        except KafkaException as error:
            return Unavailable(str(error.args[0]))
        return await batch.result

    async def close(self) -> None:
        """Deliver what is still queued, within bounds."""
        await self._loop.run_in_executor(None, self._close)

    def _close(self) -> None:
        self._closing = True
        self._thread.join()
        self._producer.flush(_FLUSH_S)
        self._hand_over()

    def _poll(self) -> None:
        while not self._closing:
            self._producer.poll(_POLL_S)
            self._hand_over()

    def _hand_over(self) -> None:
        if self._settled:
            settled = tuple(self._settled)
            self._settled.clear()
            self._loop.call_soon_threadsafe(_resolve, settled)

    def _failed(self, error: KafkaError) -> None:
        if error.fatal():
            self._loop.call_soon_threadsafe(self._on_fatal, error.str())


class _Batch:
    """Counts the delivery reports of one `publish`, in the thread that serves them."""

    __slots__ = ("_remaining", "_settled", "error", "result")

    def __init__(
        self,
        remaining: int,
        result: "asyncio.Future[Unavailable | None]",
        settled: "list[_Batch]",
    ) -> None:
        self._remaining = remaining
        self._settled = settled
        self.error: Unavailable | None = None
        self.result = result

    def delivered(self, error: KafkaError | None, _: Message) -> None:
        self._remaining -= 1
        if error is not None:
            self.error = Unavailable(error.str())
        if self._remaining == 0:
            self._settled.append(self)


def _resolve(batches: Sequence[_Batch]) -> None:
    for batch in batches:
        if not batch.result.done():
            batch.result.set_result(batch.error)
