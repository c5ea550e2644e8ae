"""The thread that owns a consumer: every call to librdkafka's consumer is made in it.

(confluent-kafka lets one thread at a time into a consumer with rebalance callbacks, and a thread
that polls leaves no room for others.) It hands batches over with one wake-up of the event loop
each. A batch carries the version of the assignment that it was read under, so that what was read
before a seek is told from what came after it.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Protocol, cast

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from faust.types import TP
from msgspec import Struct

from agents.transport.background import background
from agents.transport.errors import is_fatal
from agents.transport.lease import Lease
from agents.transport.records import Record
from agents.transport.rounds import Rounds

#: How long a call may wait for a poll that gets nothing.
_POLL_S = 0.01
_LOOK_EVERY_S = 0.1
#: What is not read at the moment is asked for, which takes the broker's answer: no partition is
#: waited for longer, nor another begun after so long, since the lease must not end meanwhile.
_ASK_EVERY_S = 1.0
_ASK_S = 0.1


class Batch(Struct, frozen=True):
    """Records read in one go, under one version of the assignment; `size`: bytes of values.

    `reached`: where there is news, the offset before which a partition has nothing more than these
    records and those before them. Markers of transactions take offsets, and are no records.
    """

    version: int
    records: Sequence[Record]
    size: int
    reached: Mapping[TP, int]


class Room(Struct, frozen=True):
    """Batches of so many messages at most; fetching stops while so many `batches`, or `size` bytes
    in them, wait to be done."""

    messages: int
    batches: int
    size: int


class Listener(Protocol):
    """Who a poller reports to; everything is called in the event loop."""

    def on_batch(self, batch: Batch) -> None:
        """Records have arrived."""

    async def on_assigned(self, tps: set[TP]) -> None:
        """The group gave these partitions; they are read once `assign` says from where."""

    async def on_revoked(self, tps: set[TP]) -> None:
        """The group takes these partitions back when this returns."""

    def on_lost(self) -> None:
        """The group has given the partitions away already."""

    def on_client_error(self, error: KafkaError) -> None:
        """librdkafka has something to tell."""

    def on_crash(self, error: BaseException) -> None:
        """The thread has ended, or `on_assigned` or `on_revoked` has failed."""


class Poller(threading.Thread):
    """Polls until it is closed."""

    def __init__(
        self,
        settings: Mapping[str, object],
        topics: Iterable[str],
        listener: Listener,
        lease: Lease,
        room: Room,
    ) -> None:
        """Join the group for `topics` once started."""
        super().__init__(name="kafka-poller", daemon=True)
        #: The offset after the last record of each partition that the group gave, as of a tenth
        #: of a second ago; of a second or some where the partition is not read.
        self.highwaters: dict[TP, int] = {}
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._lease = lease
        self._topics = sorted(topics)
        self._room = room
        self._changed = threading.Condition()
        self._calls: deque[Callable[[], None]] = deque()
        self._waiting_batches = 0
        self._waiting_bytes = 0
        self._starts: list[TopicPartition] = []
        self._parked: list[TopicPartition] | None = None
        self._version = 0
        self._closing = False
        self._in_rebalance = False
        self._commits: deque[asyncio.Future[KafkaError | None]] = deque()
        self._abandoned_commits = 0
        self._owned: set[TP] = set()
        self._begun: set[tuple[str | None, int | None]] = set()
        self._reached: dict[TP, int] = {}
        self._looked_at = self._asked_at = 0.0
        self._rounds = Rounds(self._ask, _ASK_S)
        with background():
            self._kafka = confluent_kafka.Consumer(
                {**settings, "on_commit": self._on_commit, "error_cb": self._on_error}
            )

    # -- called in the event loop

    def assign(self, version: int, positions: Mapping[TP, int]) -> None:
        """Read these partitions from these offsets; batches carry `version` from then on.

        No offset is a logical one such as "the beginning". librdkafka has to ask what that is, asks
        again half a second after an answer that came too late, and then goes back there, whatever
        it was assigned meanwhile.
        """
        parts = [TopicPartition(tp.topic, tp.partition, o) for tp, o in positions.items()]

        def assign() -> None:
            self._version = version
            self._parked = None
            self._reached = {}
            self._read_from(parts)

        self._enqueue(assign)

    async def commit(
        self, offsets: Mapping[TP, tuple[int, str]], timeout_s: float
    ) -> KafkaError | None:
        """Commit, with notes for whoever reads on from there; returns what went wrong.

        `timeout_s`: how long a coordinator that is away may keep the thread in a rebalance.
        """
        parts = [TopicPartition(*tp, offset, note) for tp, (offset, note) in offsets.items()]
        future: asyncio.Future[KafkaError | None] = self._loop.create_future()
        self._enqueue(lambda: self._commit(parts, timeout_s, future))
        return await future

    async def committed(self, tps: Iterable[TP], timeout_s: float) -> dict[TP, tuple[int, str]]:
        """Return the committed offsets with their notes, of those that have one.

        Raises KafkaException.
        """
        parts = [TopicPartition(*tp) for tp in tps]
        found: list[TopicPartition] = await self._call(
            lambda: self._kafka.committed(parts, timeout=timeout_s)
        )
        for part in found:
            if part.error:
                raise KafkaException(part.error)
        return {
            TP(part.topic, part.partition): (part.offset, part.metadata or "")
            for part in found
            if part.offset >= 0
        }

    async def watermarks(self, tp: TP, timeout_s: float) -> tuple[int, int]:
        """Ask the broker for the first offset and the end of `tp`. Raises KafkaException."""
        part = TopicPartition(*tp)
        found: tuple[int, int] = await self._call(
            lambda: self._kafka.get_watermark_offsets(part, timeout=timeout_s)
        )
        return found

    def subscribe(self, topics: Iterable[str]) -> None:
        """Change the topics; the group is balanced again."""
        self._topics = sorted(topics)
        self._enqueue(self._subscribe)

    def batch_done(self, batch: Batch) -> None:
        """Make room for another batch."""
        with self._changed:
            self._waiting_batches -= 1
            self._waiting_bytes -= batch.size

    def close(self) -> None:
        """Ask the thread to end."""
        with self._changed:
            self._closing = True
            self._changed.notify()

    def _enqueue(self, call: Callable[[], None]) -> None:
        with self._changed:
            self._calls.append(call)
            self._changed.notify()

    async def _call(self, function: Callable[[], Any]) -> Any:
        future: asyncio.Future[Any] = self._loop.create_future()

        def call() -> None:
            try:
                result = function()
            except KafkaException as error:
                self._tell(_fail, future, error)
            else:
                self._tell(_succeed, future, result)

        self._enqueue(call)
        return await future

    # -- called in the thread

    def run(self) -> None:
        """Poll until closed."""
        with background():
            self._run()

    def _run(self) -> None:
        try:
            self._subscribe()
            while not self._closing:
                self._step()
        except BaseException as error:
            self._crash(error)
        finally:
            self._closing = True
            self._kafka.close()

    def _step(self) -> None:
        self._serve_calls()
        self._park_or_resume()
        self._poll()
        self._renew()

    def _renew(self) -> None:
        if not self._lease.renew():
            self._tell(self._listener.on_lost)

    def _subscribe(self) -> None:
        self._kafka.subscribe(
            self._topics,
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )

    def _serve_calls(self) -> None:
        while self._calls:
            self._calls.popleft()()
            self._renew()

    def _park_or_resume(self) -> None:
        """Read nothing while too much waits; polls go on and serve callbacks.

        Not by pause(): after resume() librdkafka reads again from where assign() began.
        """
        room = self._room
        if self._parked is None and self._reach(room.batches, room.size):
            self._parked = self._positions()
            self._kafka.assign([])
        elif self._parked is not None and not self._reach(room.batches // 2 + 1, room.size // 2):
            starts, self._parked = self._parked, None
            self._read_from(starts)

    def _read_from(self, starts: list[TopicPartition]) -> None:
        self._starts = starts
        self._begun.clear()
        self._kafka.assign(starts)

    def _reach(self, batches: int, size: int) -> bool:
        return self._waiting_batches >= batches or self._waiting_bytes >= size

    def _hold(self) -> None:
        self._starts, self._parked = [], None
        self._kafka.assign([])

    def _own(self, tps: set[TP]) -> None:
        self._owned = tps
        self.highwaters = {}

    def _unassign(self) -> None:
        """Give the partitions back.

        By this one call: in a closing group librdkafka takes any change of the assignment as the
        last one, and a second call may wait for ever, with Python's lock held.
        """
        self._starts, self._parked = [], None
        self._own(set())
        self._kafka.unassign()

    def _positions(self) -> list[TopicPartition]:
        """Where to read on. What librdkafka says may be of an earlier assignment until it has
        handed over a record of this one: what lies between would never be read. (Assigning nothing
        first would make it forget, and may wait for ever while a group closes.)"""
        reached = self._kafka.position(self._starts)
        return [
            part if (part.topic, part.partition) in self._begun else start
            for part, start in zip(reached, self._starts, strict=True)
        ]

    def _poll(self) -> None:
        first = self._kafka.poll(_POLL_S)
        more = [] if first is None else [first, *self._kafka.consume(self._room.messages - 1, 0)]
        records = [message for message in cast(list[Record], more) if self._is_record(message)]
        self._begun.update((record.topic(), record.partition()) for record in records)
        look = self._is_time_to_look()
        reached = self._newly_reached() if look else {}
        if records or reached:
            self._hand_over(Batch(self._version, records, sum(map(len, records)), reached))
        if look:
            self._update_highwaters()

    def _is_time_to_look(self) -> bool:
        now = time.monotonic()
        if now - self._looked_at < _LOOK_EVERY_S:
            return False
        self._looked_at = now
        return True

    def _hand_over(self, batch: Batch) -> None:
        with self._changed:
            self._waiting_batches += 1
            self._waiting_bytes += batch.size
        self._tell(self._listener.on_batch, batch)

    def _newly_reached(self) -> dict[TP, int]:
        before = self._reached
        self._reached = {TP(at.topic, at.partition): at.offset for at in self._positions()}
        return {tp: offset for tp, offset in self._reached.items() if offset != before.get(tp)}

    def _is_record(self, message: Record) -> bool:
        error = message.error()
        if error is None:
            return True
        if error.code() != KafkaError._PARTITION_EOF:
            self._on_error(error)
        return False

    def _update_highwaters(self) -> None:
        read = {TP(part.topic, part.partition) for part in self._kafka.assignment()}
        ends = {
            tp: self._kafka.get_watermark_offsets(TopicPartition(*tp), cached=True)[1]
            for tp in read
        }
        unread = self._owned - read
        if unread and time.monotonic() - self._asked_at >= _ASK_EVERY_S:
            self._asked_at = time.monotonic()
            told, failed = self._rounds.ask(unread)
            ends |= told
            if failed is not None:
                self._on_error(failed)
        known = {tp: end for tp, end in ends.items() if end >= 0}
        self.highwaters = {**self.highwaters, **known}

    def _ask(self, tp: TP) -> int:
        end: int = self._kafka.get_watermark_offsets(TopicPartition(*tp), _ASK_S)[1]
        return end

    def _commit(
        self,
        parts: list[TopicPartition],
        timeout_s: float,
        future: "asyncio.Future[KafkaError | None]",
    ) -> None:
        try:
            if self._in_rebalance:
                # While the coordinator is away librdkafka keeps a commit as long as a session, and
                # longer than the lease; what is committed it is asked for within a bound.
                self._kafka.committed(parts, timeout=timeout_s)
                done = self._kafka.commit(offsets=parts, asynchronous=False)
                self._finish_commit(future, None, done)
            else:
                self._kafka.commit(offsets=parts, asynchronous=True)
                self._commits.append(future)  # its report comes with a later poll
        except KafkaException as error:
            self._finish_commit(future, error.args[0], None)

    def _on_commit(self, error: KafkaError | None, parts: list[TopicPartition]) -> None:
        if self._abandoned_commits:
            self._abandoned_commits -= 1
        else:
            self._finish_commit(self._commits.popleft(), error, parts)

    def _finish_commit(
        self,
        future: "asyncio.Future[KafkaError | None]",
        error: KafkaError | None,
        parts: list[TopicPartition] | None,
    ) -> None:
        failed = error or next((part.error for part in parts or () if part.error), None)
        self._tell(_succeed, future, failed)

    def _on_assign(self, kafka: confluent_kafka.Consumer, parts: list[TopicPartition]) -> None:
        self._hold()  # reading begins when the tables are restored
        tps = {TP(part.topic, part.partition) for part in parts}
        self._own(tps)
        self._wait_for(self._listener.on_assigned(tps))

    def _on_revoke(self, kafka: confluent_kafka.Consumer, parts: list[TopicPartition]) -> None:
        if not self._closing:
            self._wait_for(self._listener.on_revoked({TP(p.topic, p.partition) for p in parts}))
        self._unassign()

    def _on_lost(self, kafka: confluent_kafka.Consumer, parts: list[TopicPartition]) -> None:
        if not self._closing:
            self._lease.end()
            self._tell(self._listener.on_lost)
        self._unassign()

    def _on_error(self, error: KafkaError) -> None:
        if is_fatal(error):
            self._lease.end()
        self._tell(self._listener.on_client_error, error)

    def _wait_for(self, coroutine: Any) -> None:
        """Run in the event loop, and serve its calls until it is done."""
        done: Future[None] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        self._in_rebalance = True
        # Nobody polls now, so reports of commits on their way cannot come: they are made again.
        while self._commits:
            self._abandoned_commits += 1
            self._finish_commit(self._commits.popleft(), KafkaError(KafkaError._TIMED_OUT), None)
        while not done.done() and not self._closing:
            with self._changed:
                if not self._calls:
                    self._changed.wait(_POLL_S)
            self._serve_calls()
            self._renew()
        self._in_rebalance = False
        ended = done.done() and not done.cancelled()
        if ended and (error := done.exception()) is not None:
            self._crash(error)

    def _crash(self, error: BaseException) -> None:
        self._lease.end()
        self._tell(self._listener.on_crash, error)

    def _tell(self, function: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the loop is closed: nobody is there to care
            self._closing = True


def _succeed(future: "asyncio.Future[Any]", result: object) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: "asyncio.Future[Any]", error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
