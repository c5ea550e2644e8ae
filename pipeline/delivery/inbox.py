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
"""Interval of polls, and so of commits."""

_AT_ONCE: Final = 64
_MAX_IN_FLIGHT: Final = 64
"""Limit per topic, so that a channel with a slow receiver delays no other."""

_MAX_BUFFERED: Final = 1024
"""Backlog per topic at which reading pauses; it resumes at half of that, because librdkafka takes
half a second to resume."""

_GRACE_S: Final = 5.0

Receive: TypeAlias = Callable[[Sequence[Message]], None]


class Inbox:
    """Consumer of the topics in `wanted`.

    `receive` gets the records, in the event loop, and marks each as done in `progress`. `failed`
    ends the process.
    """

    def __init__(
        self,
        client: Mapping[str, Property],
        progress: OffsetProgress,
        wanted: Callable[[], Sequence[str]],
        receive: Receive,
        failed: Callable[[Exception], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._progress = progress
        self._wanted = wanted
        self._receive = receive
        self._failed = failed
        self._subscribed: list[str] = []
        self._buffered: defaultdict[str, deque[Message]] = defaultdict(deque)
        self._full: set[str] = set()
        self._paused: set[TopicPartition] = set()
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
            self._loop.call_soon_threadsafe(self._failed, error)

    def _subscribe(self) -> None:
        wanted = sorted(self._wanted())
        if wanted != self._subscribed and wanted:
            self._consumer.subscribe(wanted, on_revoke=self._on_revoke, on_lost=self._on_lost)
            self._subscribed = wanted

    def _pace(self) -> None:
        """Pause partitions of full topics, and resume the others.

        librdkafka keeps a pause while a partition is lost and assigned again, so pauses are
        remembered here until they are lifted.
        """
        self._full = {
            topic
            for topic, buffered in self._buffered.items()
            if len(buffered) >= (_MAX_BUFFERED // 2 if topic in self._full else _MAX_BUFFERED)
        }
        halted: list[TopicPartition] = []
        flowing: list[TopicPartition] = []
        for place in self._consumer.assignment():
            halts = place.topic in self._full or not self._reading
            (halted if halts else flowing).append(place)
        resumed = [place for place in flowing if place in self._paused]
        if halted:
            self._consumer.pause(halted)
        if resumed:
            self._consumer.resume(resumed)
        self._paused = (self._paused | set(halted)) - set(resumed)

    def _read(self) -> None:
        first = self._consumer.poll(_POLL_S)
        if first is not None:
            self._buffer([first])  # before the next call, in which the partition may be lost
            self._buffer(self._consumer.consume(_AT_ONCE - 1, 0))

    def _buffer(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if is_record(message):
                self._buffered[source_partition(message)[0]].append(message)

    def _hand_over(self) -> None:
        in_flight = self._progress.in_flight()
        for topic, buffered in self._buffered.items():
            room = _MAX_IN_FLIGHT - in_flight[topic] if self._reading else 0
            begun = [buffered.popleft() for _ in range(min(room, len(buffered)))]
            for message in begun:
                self._progress.start(source_partition(message), offset_of(message))
            if begun:
                self._loop.call_soon_threadsafe(self._receive, begun)

    def _commit(self, *, asynchronous: bool) -> None:
        moved = self._progress.take()
        if not moved:
            return
        offsets = [TopicPartition(*place, offset) for place, offset in moved.items()]
        try:
            if asynchronous:
                self._consumer.commit(offsets=offsets, asynchronous=True)
            else:
                self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            _log.warning("offsets not committed, so actions may be delivered again: %s", error)

    def _on_revoke(self, _: Consumer, places: list[TopicPartition]) -> None:
        """Wait, up to a limit, for records in flight, so that no other member repeats them."""
        taken = _partitions(places)
        self._drop(taken)
        give_up_at = time.monotonic() + _GRACE_S
        while (
            self._progress.has_in_flight(taken)
            and not self._closing
            and time.monotonic() < give_up_at
        ):
            time.sleep(_POLL_S)
        self._commit(asynchronous=False)
        self._progress.forget(taken)

    def _on_lost(self, _: Consumer, places: list[TopicPartition]) -> None:
        taken = _partitions(places)
        self._drop(taken)
        self._progress.forget(taken)

    def _drop(self, places: Set[Partition]) -> None:
        for topic, buffered in self._buffered.items():
            self._buffered[topic] = deque(
                message for message in buffered if source_partition(message) not in places
            )


def _partitions(partitions: Sequence[TopicPartition]) -> set[Partition]:
    return {(partition.topic, partition.partition) for partition in partitions}
