"""Index of outputs that a predecessor sent for uncommitted inputs; suppresses duplicates when these
inputs are processed again.

A record names its cause in a header. An output that is in its topic already, with the same key and
cause, is not sent again. The cause alone is not enough: under another configuration, or by other
code, an input may cause another output than before.

To build the index quickly, only records written since the uncommitted inputs arrived, and since
the last commit, are read, by the broker's clock, which is assumed to differ from a worker's by less
than two seconds. Where a topic keeps its writers' times, the arrival of inputs is unknown and
counts as 0.
A worker that still reprocesses a predecessor's inputs notes the predecessor's time with its
commits, not its own.
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

from agents.transport.records import NotedOffset, Record
from pipeline.adapters.headers import first_header
from pipeline.adapters.transient import is_transient

_log = logging.getLogger(__name__)

_MAX_BATCH_RECORDS: Final = 5_000
_WAIT_S: Final = 0.1
_REQUEST_S: Final = 5.0
_MAX_CLOCK_SKEW_MS: Final = 2_000


@dataclass(frozen=True, slots=True)
class SentIndex:
    """Digests of outputs sent since `since_ms` (epoch) for inputs below `ends` (exclusive)."""

    digests: frozenset[bytes] = frozenset()
    since_ms: int = 0
    ends: Mapping[TP, int] = field(default_factory=dict)

    def contains(self, topic: str, key: bytes | None, cause: bytes) -> bool:
        """Return whether this output was sent."""
        return output_digest(topic, key, cause) in self.digests

    def commit_note(self, tp: TP, offset: int, now_ms: int) -> str:
        """Return the earliest time (epoch ms) at which outputs of inputs from `offset` on may have
        been sent, to be stored with the commit of that offset."""
        return str(self.since_ms if offset < self.ends.get(tp, 0) else now_ms)

    def is_obsolete(self, committed_offsets: Mapping[TP, int]) -> bool:
        """Return whether all inputs of the index are committed, so that none is redelivered."""
        return all(committed_offsets.get(tp, 0) >= end for tp, end in self.ends.items())


def output_digest(topic: str, key: bytes | None, cause: bytes) -> bytes:
    """Return 16 bytes that identify an output."""
    # Neither topics nor causes have a zero byte.
    return blake2b(b"%b\0%b\0%b" % (topic.encode(), cause, key or b""), digest_size=16).digest()


def first_sent_ms(arrivals: Mapping[TP, int], notes: Mapping[TP, int]) -> int | None:
    """Return the earliest time (epoch ms) at which uncommitted inputs' outputs may have been sent.

    `arrivals`: time of arrival of each partition's first uncommitted input; `notes`: time in the
    note of each partition's last commit. None: no input is uncommitted.
    """
    return min((max(arrival_ms, notes[tp]) for tp, arrival_ms in arrivals.items()), default=None)


def load_sent_index(
    settings: Mapping[str, object],
    header: str,
    output_topics: Sequence[str],
    committed_offsets: Mapping[TP, NotedOffset],
    keep_going: Callable[[], bool],
) -> SentIndex | None:
    """Index the records in `output_topics` for uncommitted inputs, by the cause in `header`.

    A topic that ends in a dot is a prefix. `committed_offsets`: that of each input partition.
    Blocks until all records are read, also while a leader is away; returns None once `keep_going`
    returns False. Raises KafkaException.
    """
    consumer = Consumer(dict(settings))
    try:
        index = _SentIndexReader(consumer, header, output_topics, keep_going).read(
            committed_offsets
        )
        return index if keep_going() else None
    finally:
        consumer.close()


class _SentIndexReader:
    """Reader that builds the index from the records in `output_topics`, by their cause in
    `header`."""

    def __init__(
        self,
        consumer: Consumer,
        header: str,
        output_topics: Sequence[str],
        keep_going: Callable[[], bool],
    ) -> None:
        self._consumer = consumer
        self._header = header
        self._output_topics = output_topics
        self._keep_going = keep_going

    def read(self, committed_offsets: Mapping[TP, NotedOffset]) -> SentIndex:
        ends = {
            tp: end
            for tp, start in committed_offsets.items()
            if (end := self._request_end(tp)) > start.offset
        }
        since_ms = self._find_start_ms({tp: committed_offsets[tp] for tp in ends})
        if since_ms is None or not self._keep_going():
            return SentIndex()
        partitions = list(self._find_output_partitions())
        if not partitions:
            return SentIndex()
        starts = self._consumer.offsets_for_times(
            [TopicPartition(*tp, max(since_ms - _MAX_CLOCK_SKEW_MS, 0)) for tp in partitions],
            timeout=_REQUEST_S,
        )
        records = self._read([start for start in starts if start.offset >= 0])
        digests = frozenset(
            output_digest(record.topic(), record.key(), cause)
            for record in records
            if (cause := first_header(record.headers(), self._header)) is not None
        )
        return SentIndex(digests, since_ms, ends)

    def _request_end(self, tp: TP) -> int:
        _, end = self._consumer.get_watermark_offsets(TopicPartition(*tp), _REQUEST_S)
        return int(end)

    def _find_start_ms(self, committed_offsets: Mapping[TP, NotedOffset]) -> int | None:
        """Return the time from which outputs may have been written; None: no input is
        uncommitted."""
        starts = [TopicPartition(*tp, start.offset) for tp, start in committed_offsets.items()]
        arrivals: dict[TP, int] = {}
        for record in self._read(starts, first_only=True):
            arrivals.setdefault(TP(record.topic(), record.partition()), _arrival_ms(record))
        return first_sent_ms(
            arrivals, {tp: _noted_ms(start.note) for tp, start in committed_offsets.items()}
        )

    def _find_output_partitions(self) -> Iterator[TP]:
        for name, topic in self._consumer.list_topics(timeout=_REQUEST_S).topics.items():
            if any(_is_output_topic(output_topic, name) for output_topic in self._output_topics):
                yield from (TP(name, partition) for partition in topic.partitions)

    def _read(self, starts: Sequence[TopicPartition], first_only: bool = False) -> Iterator[Record]:
        """Yield the records of each partition to its end, or only the first of each."""
        unread_partitions = {(part.topic, part.partition) for part in starts}
        self._consumer.assign(list(starts))
        while unread_partitions and self._keep_going():
            for message in cast(list[Record], self._consumer.consume(_MAX_BATCH_RECORDS, _WAIT_S)):
                error = message.error()
                if error is None:
                    yield message
                if first_only if error is None else _is_end(message, error):
                    unread_partitions.discard((message.topic(), message.partition()))


def _is_end(message: Record, error: KafkaError) -> bool:
    """Return whether an error marks a partition's end; False for a transient one.

    Raises KafkaException for others. A malformed answer about no partition concerns the consumer
    group, which is not used.
    """
    if error.code() == KafkaError._PARTITION_EOF:
        return True
    is_about_group = error.code() == KafkaError._BAD_MSG and message.topic() is None
    if not (is_about_group or is_transient(error)):
        raise KafkaException(error)
    _log.warning("reading the outputs sent before: %s", error)
    return False


def _noted_ms(note: str) -> int:
    """Return the time (epoch ms) in a commit's note; 0 if `commit_note` did not write it."""
    return int(note) if note.isdecimal() else 0


def _is_output_topic(name: str, topic: str) -> bool:
    return topic == name or (name.endswith(".") and topic.startswith(name))


def _arrival_ms(record: Record) -> int:
    """Return the broker's time for the record; 0 where the topic keeps its writers' times."""
    kind, at_ms = record.timestamp()
    return at_ms if kind == TIMESTAMP_LOG_APPEND_TIME else 0
