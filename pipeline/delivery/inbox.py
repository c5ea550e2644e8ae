"""Reader of the action topics, in a separate thread, which commits offsets of done actions."""

import asyncio
import logging
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence, Set
from threading import Thread
from typing import Final, TypeAlias

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from pipeline.adapters.kafka import Partition, Property, offset_of, source_partition
from pipeline.adapters.transient import is_record
from pipeline.delivery.progress import OffsetProgress

_log = logging.getLogger(__name__)

_POLL_S: Final = 0.02
"""Longest wait of a poll, and so the longest interval between commits while nothing arrives."""

_MAX_POLL_RECORDS: Final = 64
_MAX_IN_FLIGHT: Final = 64
"""Limit per topic, so that a channel with a slow receiver delays no other."""

_MAX_BACKLOG: Final = 1024
"""Backlog per topic at which reading pauses; it resumes at half of that, because librdkafka takes
half a second to resume."""

_GRACE_S: Final = 5.0
"""Longest wait for records in flight when partitions are revoked."""

Receive: TypeAlias = Callable[[Sequence[Message]], None]


class Inbox:
    """Consumer of the topics that `find_topics` returns, which may change.

    `receive` gets the records, in the event loop, and marks each as done in `progress`.
    `on_failure` gets the exception that ended the thread.
    """

    def __init__(
        self,
        client: Mapping[str, Property],
        progress: OffsetProgress,
        find_topics: Callable[[], Sequence[str]],
        receive: Receive,
        on_failure: Callable[[Exception], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._progress = progress
        self._find_topics = find_topics
        self._receive = receive
        self._on_failure = on_failure
        self._topics: list[str] = []
        self._backlogs: defaultdict[str, deque[Message]] = defaultdict(deque)
        self._full_topics: set[str] = set()
        self._paused_partitions: set[TopicPartition] = set()
        self._reading = True
        self._closing = False
        self._consumer = Consumer(
            {
                **client,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "earliest",
            }
        )
        self._thread = Thread(target=self._run, name="inbox", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop_reading(self) -> None:
        """Stop reading; records in flight can still be committed."""
        self._reading = False

    async def close(self) -> None:
        """Commit the done records, and leave the group."""
        self._closing = True
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        try:
            while not self._closing:
                self._subscribe()
                self._pace()
                self._read()
                self._hand_over()
                self._commit(asynchronous=True)
            self._commit(asynchronous=False)
            self._consumer.close()
        except Exception as error:
            self._loop.call_soon_threadsafe(self._on_failure, error)

    def _subscribe(self) -> None:
        topics = sorted(self._find_topics())
        if topics != self._topics and topics:
            self._consumer.subscribe(topics, on_revoke=self._on_revoke, on_lost=self._on_lost)
            self._topics = topics

    def _pace(self) -> None:
        """Pause partitions of full topics, and resume the others.

        librdkafka keeps a partition paused when it is lost and assigned again, so the paused
        partitions are recorded here until they are resumed.
        """
        self._full_topics = {
            topic
            for topic, backlog in self._backlogs.items()
            if len(backlog) >= (_MAX_BACKLOG // 2 if topic in self._full_topics else _MAX_BACKLOG)
        }
        partitions_to_pause: list[TopicPartition] = []
        partitions_to_resume: list[TopicPartition] = []
        for partition in self._consumer.assignment():
            if partition.topic in self._full_topics or not self._reading:
                partitions_to_pause.append(partition)
            elif partition in self._paused_partitions:
                partitions_to_resume.append(partition)
        if partitions_to_pause:
            self._consumer.pause(partitions_to_pause)
        if partitions_to_resume:
            self._consumer.resume(partitions_to_resume)
        self._paused_partitions = (self._paused_partitions | set(partitions_to_pause)) - set(
            partitions_to_resume
        )

    def _read(self) -> None:
        first_message = self._consumer.poll(_POLL_S)
        if first_message is not None:
            # Before the next call, in which the partition may be lost.
            self._buffer([first_message])
            self._buffer(self._consumer.consume(_MAX_POLL_RECORDS - 1, 0))

    def _buffer(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if is_record(message):
                self._backlogs[source_partition(message)[0]].append(message)

    def _hand_over(self) -> None:
        in_flight_counts = self._progress.in_flight_counts()
        for topic, backlog in self._backlogs.items():
            room = _MAX_IN_FLIGHT - in_flight_counts[topic] if self._reading else 0
            batch = [backlog.popleft() for _ in range(min(room, len(backlog)))]
            for message in batch:
                self._progress.start(source_partition(message), offset_of(message))
            if batch:
                self._loop.call_soon_threadsafe(self._receive, batch)

    def _commit(self, *, asynchronous: bool) -> None:
        next_offsets = self._progress.take_next_offsets()
        if not next_offsets:
            return
        offsets = [TopicPartition(*partition, offset) for partition, offset in next_offsets.items()]
        try:
            if asynchronous:
                self._consumer.commit(offsets=offsets, asynchronous=True)
            else:
                self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            _log.warning("offsets not committed, so actions may be delivered again: %s", error)

    def _on_revoke(self, _: Consumer, topic_partitions: list[TopicPartition]) -> None:
        """Wait, up to a limit, for records in flight, so that no other member repeats them."""
        partitions = _partitions(topic_partitions)
        self._drop(partitions)
        deadline = time.monotonic() + _GRACE_S
        while (
            self._progress.has_in_flight(partitions)
            and not self._closing
            and time.monotonic() < deadline
        ):
            time.sleep(_POLL_S)
        self._commit(asynchronous=False)
        self._progress.drop_partitions(partitions)

    def _on_lost(self, _: Consumer, topic_partitions: list[TopicPartition]) -> None:
        partitions = _partitions(topic_partitions)
        self._drop(partitions)
        self._progress.drop_partitions(partitions)

    def _drop(self, partitions: Set[Partition]) -> None:
        for topic, backlog in self._backlogs.items():
            self._backlogs[topic] = deque(
                message for message in backlog if source_partition(message) not in partitions
            )


def _partitions(partitions: Sequence[TopicPartition]) -> set[Partition]:
    return {(partition.topic, partition.partition) for partition in partitions}
