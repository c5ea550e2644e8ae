"""Ranges of a topic's offsets: limits of its partitions, and the records between offsets."""

import time
from collections.abc import Iterator, Mapping
from typing import Final

from confluent_kafka import Consumer, Message, TopicPartition

from pipeline.adapters.kafka import Property, is_partition_end, offset_of

_MAX_BATCH_RECORDS: Final = 10_000
_WAIT_S: Final = 0.1
_SILENCE_TIMEOUT_S: Final = 30.0


class UnknownTopicError(Exception):
    """Raised when there is no such topic; the message names the existing ones."""


class TopicReader:
    """Reader of one topic without a group. Raises KafkaException when no broker answers."""

    def __init__(self, kafka: Mapping[str, Property], topic: str) -> None:
        self._topic = topic
        self._consumer = Consumer(
            {
                **kafka,
                "group.id": "kairos.replay",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
            }
        )

    def __enter__(self) -> "TopicReader":
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def limits(self) -> dict[int, range]:
        """Return the range of each partition's present offsets. Raises UnknownTopicError."""
        topics = self._consumer.list_topics(timeout=_SILENCE_TIMEOUT_S).topics
        if self._topic not in topics:
            names = ", ".join(sorted(name for name in topics if not name.startswith("__")))
            raise UnknownTopicError(
                f"there is no topic {self._topic!r}; there are {names or 'none'}"
            )
        parts = [TopicPartition(self._topic, number) for number in topics[self._topic].partitions]
        return {
            part.partition: range(*self._consumer.get_watermark_offsets(part, _SILENCE_TIMEOUT_S))
            for part in parts
        }

    def offsets_since(self, time_ms: int) -> dict[int, int]:
        """Return each partition's first offset written at `time_ms` (epoch) or later.

        Partitions without such a record are omitted.
        """
        times = [TopicPartition(self._topic, number, time_ms) for number in self.limits()]
        offsets = self._consumer.offsets_for_times(times, timeout=_SILENCE_TIMEOUT_S)
        return {part.partition: part.offset for part in offsets if part.offset >= 0}

    def read(self, partition: int, offsets: range) -> Iterator[Message]:
        """Yield the partition's records with these offsets, in order.

        Raises KafkaException, TimeoutError.
        """
        if not offsets:
            return
        self._consumer.assign([TopicPartition(self._topic, partition, offsets.start)])
        deadline = time.monotonic() + _SILENCE_TIMEOUT_S
        while True:
            messages = self._consumer.consume(_MAX_BATCH_RECORDS, _WAIT_S)
            if messages:
                deadline = time.monotonic() + _SILENCE_TIMEOUT_S
            elif time.monotonic() > deadline:
                reason = f"{self._topic}: the broker sent nothing for {_SILENCE_TIMEOUT_S:.0f} s"
                raise TimeoutError(reason)
            for message in messages:
                if is_partition_end(message):
                    return
                offset = offset_of(message)
                if offset in offsets:
                    yield message
                if offset >= offsets.stop - 1:
                    return
