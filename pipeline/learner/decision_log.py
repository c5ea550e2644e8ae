"""Log of decisions as the learner reads it: all partitions, in one process."""

import logging
from collections.abc import Iterator, Mapping
from typing import Final, Protocol

from confluent_kafka import Consumer, TopicPartition
from msgspec import Struct

from pipeline.adapters.avro import Codec
from pipeline.adapters.kafka import offset_of, source_partition
from pipeline.adapters.transient import is_record
from pipeline.learner import metrics
from pipeline.learner.ledger import LoggedDecision
from pipeline.model import topics
from pipeline.model.decision import Decision
from pipeline.settings import Settings

_BATCH: Final = 1000
_POLL_S: Final = 0.2
_METADATA_S: Final = 30.0

_log = logging.getLogger(__name__)


class DecisionBatch(Struct, frozen=True):
    """Decisions, and the offsets after them by partition."""

    decisions: list[LoggedDecision]
    ends: dict[int, int]

    def part_before(self, limits: Mapping[int, int]) -> "DecisionBatch":
        """Return the part before these offsets."""
        decisions = [
            entry for entry in self.decisions if entry.offset < limits.get(entry.partition, 0)
        ]
        ends = {
            partition: min(end, limits[partition])
            for partition, end in self.ends.items()
            if partition in limits
        }
        return DecisionBatch(decisions, ends)


class DecisionSource(Protocol):
    """Partitions of decisions, read from any offsets."""

    @property
    def partitions(self) -> int:
        """Number of partitions."""

    def bounds(self, partition: int) -> tuple[int, int]:
        """Return the first offset of a partition, and the one after the last."""

    def assign(self, offsets: Mapping[int, int]) -> None:
        """Read these partitions only, from these offsets on."""

    def read(self) -> DecisionBatch:
        """Return the next decisions, in the order of each partition; none after a timeout."""


class DecisionLog:
    """Log in Kafka. Committed offsets only show the lag. Its methods raise KafkaException."""

    def __init__(self, settings: Settings, codec: Codec, group: str) -> None:
        self._codec = codec
        self._consumer = Consumer(
            {
                **settings.kafka(),
                "group.id": group,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "earliest",
            }
        )
        metadata = self._consumer.list_topics(topics.DECISIONS, _METADATA_S)
        self.partitions = len(metadata.topics[topics.DECISIONS].partitions)

    def bounds(self, partition: int) -> tuple[int, int]:
        place = TopicPartition(topics.DECISIONS, partition)
        first_offset, end_offset = self._consumer.get_watermark_offsets(place, _METADATA_S)
        return first_offset, end_offset

    def assign(self, offsets: Mapping[int, int]) -> None:
        self._consumer.assign(list(_places(offsets)))

    def read(self) -> DecisionBatch:
        batch = DecisionBatch([], {})
        for message in self._consumer.consume(_BATCH, _POLL_S):
            if not is_record(message):
                continue
            (_, partition), offset = source_partition(message), offset_of(message)
            batch.ends[partition] = offset + 1
            record = self._codec.decode(topics.DECISIONS, message.value() or b"")
            if isinstance(record, Decision):
                batch.decisions.append(LoggedDecision(partition, offset, record))
            else:
                metrics.UNREADABLE_RECORDS.inc()
                _log.error("unreadable decision", extra={"partition": partition, "offset": offset})
        return batch

    def commit(self, offsets: Mapping[int, int]) -> None:
        """Commit the learner's position to its group, to show the lag."""
        self._consumer.commit(offsets=list(_places(offsets)), asynchronous=True)

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()


def _places(offsets: Mapping[int, int]) -> Iterator[TopicPartition]:
    return (
        TopicPartition(topics.DECISIONS, partition, offset) for partition, offset in offsets.items()
    )
