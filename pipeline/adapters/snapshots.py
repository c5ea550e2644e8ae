"""Scan of a topic from its beginning to its present end."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, cast

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, TopicPartition

from pipeline.adapters.kafka import is_partition_end
from pipeline.adapters.transient import is_transient

_MAX_BATCH_RECORDS = 10_000
_WAIT_S = 0.02
_LEADER_S = 0.1
_SILENCE_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """Record of a topic; `timestamp`: its time in the log (epoch ms)."""

    key: str
    value: bytes | None
    partition: int
    offset: int
    timestamp: int
    headers: tuple[tuple[str, bytes | None], ...]


NO_START_OFFSETS: Final[Mapping[int, int]] = {}


def scan(
    kafka: Mapping[str, str | int | float | bool],
    topic: str,
    start: Mapping[int, int] = NO_START_OFFSETS,
) -> Iterator[StoredRecord]:
    """Yield every record of `topic` written before the call, in the order of each partition.

    `start`: the first offset of partitions that are not read from their beginning. A missing topic
    is empty. Raises KafkaException, or TimeoutError when the broker stops answering.
    """
    consumer = Consumer(
        {
            **kafka,
            "group.id": "kairos.scan",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
        }
    )
    try:
        yield from _scan(consumer, topic, start)
    finally:
        consumer.close()


def _scan(consumer: Consumer, topic: str, start: Mapping[int, int]) -> Iterator[StoredRecord]:
    open_ends = {p: end for p, end in _ends(consumer, topic).items() if start.get(p, 0) < end}
    consumer.assign([TopicPartition(topic, p, start.get(p, OFFSET_BEGINNING)) for p in open_ends])
    deadline = time.monotonic() + _SILENCE_TIMEOUT_S
    while open_ends:
        messages = consumer.consume(_MAX_BATCH_RECORDS, _WAIT_S)
        if messages:
            deadline = time.monotonic() + _SILENCE_TIMEOUT_S
        elif time.monotonic() > deadline:
            raise TimeoutError(f"{topic}: the broker sent nothing for {_SILENCE_TIMEOUT_S:.0f} s")
        for message in messages:
            partition = cast(int, message.partition())
            end = open_ends.get(partition)
            if end is None:
                continue
            if is_partition_end(message):
                del open_ends[partition]
                continue
            record = _stored_record(message)
            if record.offset < end:
                yield record
            if record.offset >= end - 1:
                del open_ends[partition]


def _ends(consumer: Consumer, topic: str) -> dict[int, int]:
    """Return the end offsets of non-empty partitions; wait while a leader is unknown or away."""
    deadline = time.monotonic() + _SILENCE_TIMEOUT_S
    while True:
        partitions = (
            consumer.list_topics(topic, timeout=_SILENCE_TIMEOUT_S).topics[topic].partitions
        )
        try:
            return _nonempty_ends(
                consumer, [TopicPartition(topic, number) for number in partitions]
            )
        except KafkaException as error:
            if not is_transient(error.args[0]) or time.monotonic() > deadline:
                raise
        time.sleep(_LEADER_S)


def _nonempty_ends(consumer: Consumer, parts: list[TopicPartition]) -> dict[int, int]:
    limits = {
        p.partition: consumer.get_watermark_offsets(p, timeout=_SILENCE_TIMEOUT_S) for p in parts
    }
    return {number: end for number, (first, end) in limits.items() if end > first}


def _stored_record(message: Message) -> StoredRecord:
    """Return the record of a polled message, which has a partition and an offset."""
    return StoredRecord(
        (message.key() or b"").decode(errors="replace"),
        message.value(),
        cast(int, message.partition()),
        cast(int, message.offset()),
        message.timestamp()[1],
        tuple(cast(list[tuple[str, bytes | None]], message.headers() or [])),
    )
