"""The action topics, read by a thread of its own; offsets are committed as actions are done."""

import asyncio
import logging
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence, Set
from threading import Thread
from typing import Final, TypeAlias

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from pipeline.adapters.kafka import Place, Property, offset_of, place_of
from pipeline.delivery.progress import Progress

_log = logging.getLogger(__name__)

_POLL_S: Final = 0.02
"""Also how long a commit may lag behind what is done."""

_AT_ONCE: Final = 64
_MAX_IN_FLIGHT: Final = 64
"""Per topic, so that a channel whose receiver is slow holds up no other."""

_MAX_HELD: Final = 1024
"""Per topic. Reading stops at so many that nobody has begun with, and goes on at half of them:
librdkafka takes half a second to go on."""

_GRACE_S: Final = 5.0
_WAITABLE: Final = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._ALL_BROKERS_DOWN)

Receive: TypeAlias = Callable[[Sequence[Message]], None]


class Inbox:
    """`wanted` gives the topics to read, `receive` gets the records, in the loop; whoever
    receives one reports it to `progress` when it is done. `failed` ends the process.
    """

    def __init__(
        self,
        client: Mapping[str, Property],
        progress: Progress,
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
        self._held: defaultdict[str, deque[Message]] = defaultdict(deque)
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
        """Take nothing new; what is being done can still be committed."""
        self._reading = False

    async def close(self) -> None:
        """Commits what is done and leaves the group."""
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
            self._consumer.subscribe(wanted, on_revoke=self._revoked, on_lost=self._lost)
            self._subscribed = wanted

    def _pace(self) -> None:
        """librdkafka remembers a pause although the partition is lost and assigned again, so it is
        remembered here too until it is lifted.
        """
        self._full = {
            topic
            for topic, held in self._held.items()
            if len(held) >= (_MAX_HELD // 2 if topic in self._full else _MAX_HELD)
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
            self._hold([first])  # before the next call, in which its partition may be lost
            self._hold(self._consumer.consume(_AT_ONCE - 1, 0))

    def _hold(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if _is_record(message):
                self._held[place_of(message)[0]].append(message)

    def _hand_over(self) -> None:
        in_flight = self._progress.in_flight()
        for topic, held in self._held.items():
            room = _MAX_IN_FLIGHT - in_flight[topic] if self._reading else 0
            begun = [held.popleft() for _ in range(min(room, len(held)))]
            for message in begun:
                self._progress.start(place_of(message), offset_of(message))
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
            _log.warning("not committed, so these may come again: %s", error)

    def _revoked(self, _: Consumer, places: list[TopicPartition]) -> None:
        """What was begun is done before others begin with it again, unless it takes too long."""
        taken = _places(places)
        self._drop(taken)
        give_up_at = time.monotonic() + _GRACE_S
        while self._progress.busy(taken) and not self._closing and time.monotonic() < give_up_at:
            time.sleep(_POLL_S)
        self._commit(asynchronous=False)
        self._progress.forget(taken)

    def _lost(self, _: Consumer, places: list[TopicPartition]) -> None:
        taken = _places(places)
        self._drop(taken)
        self._progress.forget(taken)

    def _drop(self, places: Set[Place]) -> None:
        for topic, held in self._held.items():
            self._held[topic] = deque(one for one in held if place_of(one) not in places)


def _places(partitions: Sequence[TopicPartition]) -> set[Place]:
    return {(one.topic, one.partition) for one in partitions}


def _is_record(message: Message) -> bool:
    """False for an error that passes by itself; raises when there is no going on."""
    error = message.error()
    if error is None:
        return True
    if error.fatal() or not (error.retriable() or error.code() in _WAITABLE):
        raise KafkaException(error)
    _log.warning("Kafka: %s", error)
    return False
