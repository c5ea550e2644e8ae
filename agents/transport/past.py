"""What whoever had these partitions before has sent of inputs that were not committed.

These inputs are processed again. A record names its cause in a header, and one whose cause stands
in the log already is not sent a second time. So that it is found quickly, only what was written
since the inputs came, and since the last commit, is read: by the broker's clock, which is taken to
differ from a worker's by less than two seconds.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from faust.types import TP

from agents.transport.records import Record

_BATCH: Final = 5_000
_WAIT_S: Final = 0.1
_REQUEST_S: Final = 15.0
_CLOCKS_DIFFER_MS: Final = 2_000


def past_causes(
    settings: Mapping[str, object],
    header: str,
    outputs: Sequence[str],
    committed: Mapping[TP, tuple[int, int]],
) -> frozenset[bytes]:
    """The `header`s of what was sent to `outputs` (topics; one that ends in a dot stands for all
    whose names begin so) of inputs from their committed offsets on.

    `committed` has these, and when (epoch ms) what was committed had been produced. Blocks; raises
    KafkaException.
    """
    consumer = Consumer(dict(settings))
    try:
        return _Past(consumer, header, outputs).causes(committed)
    finally:
        consumer.close()


class _Past:
    def __init__(self, consumer: Consumer, header: str, outputs: Sequence[str]) -> None:
        self._consumer = consumer
        self._header = header
        self._outputs = outputs

    def causes(self, committed: Mapping[TP, tuple[int, int]]) -> frozenset[bytes]:
        since_ms, places = self._since(committed), list(self._places())
        if since_ms is None or not places:
            return frozenset()
        starts = self._consumer.offsets_for_times(
            [TopicPartition(*place, since_ms) for place in places], timeout=_REQUEST_S
        )
        records = self._read([start for start in starts if start.offset >= 0])
        found = (_header(record, self._header) for record in records)
        return frozenset(cause for cause in found if cause is not None)

    def _since(self, committed: Mapping[TP, tuple[int, int]]) -> int | None:
        """When the first record may have been written that is looked for; None: there is none."""
        left = [
            TopicPartition(*tp, offset)
            for tp, (offset, _) in committed.items()
            if offset < self._consumer.get_watermark_offsets(TopicPartition(*tp), _REQUEST_S)[1]
        ]
        came: dict[TP, int] = {}
        for record in self._read(left, first_only=True):
            came.setdefault(TP(record.topic(), record.partition()), record.timestamp()[1])
        moments = (max(at, committed[tp][1]) for tp, at in came.items())
        earliest = min(moments, default=None)
        return None if earliest is None else earliest - _CLOCKS_DIFFER_MS

    def _places(self) -> Iterator[TP]:
        for name, topic in self._consumer.list_topics(timeout=_REQUEST_S).topics.items():
            if any(
                name == one or (one[-1] == "." and name.startswith(one)) for one in self._outputs
            ):
                yield from (TP(name, partition) for partition in topic.partitions)

    def _read(self, starts: Sequence[TopicPartition], first_only: bool = False) -> Iterator[Record]:
        """To the end of each partition, or one record of each."""
        missing = {(part.topic, part.partition) for part in starts}
        self._consumer.assign(list(starts))
        while missing:
            for message in cast(list[Record], self._consumer.consume(_BATCH, _WAIT_S)):
                error = message.error()
                if error is None:
                    yield message
                if error is None and not first_only:
                    continue
                if error is not None and error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
                missing.discard((message.topic(), message.partition()))


def _names(output: str, topic: str) -> bool:
    return topic == output or (output.endswith(".") and topic.startswith(output))


def _header(record: Record, name: str) -> bytes | None:
    return next((value for key, value in record.headers() or () if key == name), None)
