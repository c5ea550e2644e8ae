"""What whoever had these partitions before has sent of inputs that were not committed.

These inputs are processed again. A record names its cause in a header, and one that stands in the
log already, in the same topic with the same key and cause, is not sent a second time. The cause
alone does not tell: under another configuration, or by other code, something else may follow from
an input than did before. So that it is found quickly, only what was written since the inputs came,
and since the last commit, is read: by the broker's clock, which is taken to differ from a worker's
by less than two seconds. Where a topic has its writers' times instead, when the inputs came is not
known. Whoever is killed while he still goes over what his predecessor had sent leaves word of that
one's time, not of his own.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, cast

from confluent_kafka import (
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from faust.types import TP

from agents.transport.records import Record
from pipeline.adapters.headers import first_header
from pipeline.adapters.transient import is_transient

logger = logging.getLogger(__name__)

_BATCH: Final = 5_000
_WAIT_S: Final = 0.1
_REQUEST_S: Final = 5.0
_CLOCKS_DIFFER_MS: Final = 2_000


@dataclass(frozen=True, slots=True)
class Past:
    """`marks` of what was sent since `since_ms` (epoch) of inputs below `ends`, exclusive."""

    marks: frozenset[bytes] = frozenset()
    since_ms: int = 0
    ends: Mapping[TP, int] = field(default_factory=dict)

    def has(self, topic: str, key: bytes | None, cause: bytes) -> bool:
        """Whether this was sent."""
        return mark(topic, key, cause) in self.marks

    def note(self, tp: TP, offset: int, now_ms: int) -> str:
        """For a commit of `offset`: the earliest time (epoch ms) at which records may have been
        sent of inputs that come after it."""
        return str(self.since_ms if offset < self.ends.get(tp, 0) else now_ms)

    def is_over(self, committed: Mapping[TP, int]) -> bool:
        """Whether none of these inputs will come again: all are below what is `committed`."""
        return all(committed.get(tp, 0) >= end for tp, end in self.ends.items())


def mark(topic: str, key: bytes | None, cause: bytes) -> bytes:
    """What tells an output from others: 16 bytes, however long its key is."""
    # Neither topics nor causes have a zero byte.
    return blake2b(b"%b\0%b\0%b" % (topic.encode(), cause, key or b""), digest_size=16).digest()


def first_sent_ms(came: Mapping[TP, int], notes: Mapping[TP, int]) -> int | None:
    """The earliest time at which records may have been sent of inputs that come again: of each
    partition, when the first of these `came`, and what its last commit notes. None: none come."""
    return min((max(at, notes[tp]) for tp, at in came.items()), default=None)


def look_back(
    settings: Mapping[str, object],
    header: str,
    outputs: Sequence[str],
    committed: Mapping[TP, tuple[int, int]],
    keep_going: Callable[[], bool],
) -> Past | None:
    """By the `header`s of what was sent to `outputs` (topics; one that ends in a dot stands for all
    whose names begin so) of inputs from their committed offsets on.

    `committed` has these, and their notes' times. Blocks until all is read, also while a leader is
    away; None: `keep_going` has said no. Raises KafkaException.
    """
    consumer = Consumer(dict(settings))
    try:
        past = _Look(consumer, header, outputs, keep_going).back(committed)
        return past if keep_going() else None
    finally:
        consumer.close()


class _Look:
    def __init__(
        self,
        consumer: Consumer,
        header: str,
        outputs: Sequence[str],
        keep_going: Callable[[], bool],
    ) -> None:
        self._consumer = consumer
        self._header = header
        self._outputs = outputs
        self._keep_going = keep_going

    def back(self, committed: Mapping[TP, tuple[int, int]]) -> Past:
        ends = {tp: end for tp, (offset, _) in committed.items() if (end := self._end(tp)) > offset}
        since_ms = self._since({tp: committed[tp] for tp in ends})
        if since_ms is None or not self._keep_going():
            return Past()
        places = list(self._places())
        if not places:
            return Past()
        starts = self._consumer.offsets_for_times(
            [TopicPartition(*place, max(since_ms - _CLOCKS_DIFFER_MS, 0)) for place in places],
            timeout=_REQUEST_S,
        )
        records = self._read([start for start in starts if start.offset >= 0])
        marks = frozenset(
            mark(record.topic(), record.key(), cause)
            for record in records
            if (cause := first_header(record.headers(), self._header)) is not None
        )
        return Past(marks, since_ms, ends)

    def _end(self, tp: TP) -> int:
        _, end = self._consumer.get_watermark_offsets(TopicPartition(*tp), _REQUEST_S)
        return int(end)

    def _since(self, committed: Mapping[TP, tuple[int, int]]) -> int | None:
        """When the first record may have been written that is looked for; None: there is none."""
        left = [TopicPartition(*tp, offset) for tp, (offset, _) in committed.items()]
        came: dict[TP, int] = {}
        for record in self._read(left, first_only=True):
            came.setdefault(TP(record.topic(), record.partition()), _came_ms(record))
        return first_sent_ms(came, {tp: note for tp, (_, note) in committed.items()})

    def _places(self) -> Iterator[TP]:
        for name, topic in self._consumer.list_topics(timeout=_REQUEST_S).topics.items():
            if any(_names(output, name) for output in self._outputs):
                yield from (TP(name, partition) for partition in topic.partitions)

    def _read(self, starts: Sequence[TopicPartition], first_only: bool = False) -> Iterator[Record]:
        """To the end of each partition, or one record of each; less once it must not go on."""
        missing = {(part.topic, part.partition) for part in starts}
        self._consumer.assign(list(starts))
        while missing and self._keep_going():
            for message in cast(list[Record], self._consumer.consume(_BATCH, _WAIT_S)):
                error = message.error()
                if error is None:
                    yield message
                if first_only if error is None else _is_end(error):
                    missing.discard((message.topic(), message.partition()))


def _is_end(error: KafkaError) -> bool:
    """False: a leader is away. Raises KafkaException."""
    if error.code() == KafkaError._PARTITION_EOF:
        return True
    if not is_transient(error):
        raise KafkaException(error)
    logger.warning("looking back: %s", error)
    return False


def _names(output: str, topic: str) -> bool:
    return topic == output or (output.endswith(".") and topic.startswith(output))


def _came_ms(record: Record) -> int:
    """By the broker's clock; 0 where it is the writer's, who may claim any time."""
    kind, at_ms = record.timestamp()
    return at_ms if kind == TIMESTAMP_LOG_APPEND_TIME else 0
