"""Thread that owns librdkafka's consumer, and makes every call to it.

confluent-kafka admits one thread at a time to a consumer with rebalance callbacks, and a polling
thread would block others. Each batch is handed over with one wake-up of the event loop. It carries
the version of the assignment under which it was read, so that records read before a seek can be
distinguished from later ones.
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
from agents.transport.records import NotedOffset, Record
from agents.transport.watermark_rounds import WatermarkRounds

_POLL_S = 0.01
"""Longest poll while records arrive or calls are made. A queued call waits for the poll to end."""

_QUIET_POLL_S = 0.1
"""Longest poll after `_QUIET_DELAY_S` without records or calls. The end of each poll wakes the
thread, which is most of an idle worker's load; a record ends a poll at once."""

_QUIET_DELAY_S = 0.25

_LOOK_INTERVAL_S = 0.1
_REQUEST_INTERVAL_S = 1.0
"""Interval of requests for end offsets of partitions that are not being read."""

_REQUEST_TIMEOUT_S = 0.1
"""Longest time of a request, and of a round of requests: the lease must not end meanwhile."""


class Batch(Struct, frozen=True):
    """Records read in one poll, under one version of the assignment; `size`: bytes of values.

    `positions`: next offset to read of each partition whose position has changed. It may exceed
    the last record's offset by more than one, since transaction markers have offsets too.
    """

    version: int
    records: Sequence[Record]
    size: int
    positions: Mapping[TP, int]


class PrefetchLimits(Struct, frozen=True):
    """Limits of prefetching.

    Reading stops while `max_batches` batches are unprocessed, or `max_bytes` bytes of values in
    them.
    """

    max_batch_records: int
    max_batches: int
    max_bytes: int


class Listener(Protocol):
    """Receiver of a poller's reports; everything is called in the event loop."""

    def on_batch(self, batch: Batch) -> None:
        """Take records that have arrived."""

    async def on_assigned(self, tps: set[TP]) -> None:
        """Take over partitions; they are read after `assign` has set their positions."""

    async def on_revoked(self, tps: set[TP]) -> None:
        """Give up partitions; the group takes them back when this returns."""

    def on_lost(self) -> None:
        """Stop: the group has given the partitions to another member already."""

    def on_client_error(self, error: KafkaError) -> None:
        """Handle an error or event that librdkafka reports."""

    def on_crash(self, error: BaseException) -> None:
        """Handle the end of the thread, or a failure of `on_assigned` or `on_revoked`."""


class Poller(threading.Thread):
    """Polling thread; runs until it is closed."""

    def __init__(
        self,
        settings: Mapping[str, object],
        topics: Iterable[str],
        listener: Listener,
        lease: Lease,
        limits: PrefetchLimits,
    ) -> None:
        """Join the group for `topics` once started."""
        super().__init__(name="kafka-poller", daemon=True)
        self.highwaters: dict[TP, int] = {}
        """High watermark of each assigned partition, up to 0.1 s old; up to some seconds old for
        partitions that are not being read."""
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._lease = lease
        self._topics = sorted(topics)
        self._limits = limits
        self._condition = threading.Condition()
        self._calls: deque[Callable[[], None]] = deque()
        self._waiting_batch_count = 0
        self._waiting_bytes = 0
        self._starts: list[TopicPartition] = []
        self._parked_positions: list[TopicPartition] | None = None
        self._version = 0
        self._is_closing = False
        self._in_rebalance = False
        self._commits: deque[asyncio.Future[KafkaError | None]] = deque()
        self._abandoned_commit_count = 0
        self._own_tps: set[TP] = set()
        self._delivered_partitions: set[tuple[str | None, int | None]] = set()
        self._last_positions: dict[TP, int] = {}
        self._last_look_s = self._last_request_s = 0.0
        self._last_activity_s = time.monotonic()
        self._rounds = WatermarkRounds(self._request_end, _REQUEST_TIMEOUT_S)
        with background():
            self._kafka = confluent_kafka.Consumer(
                {**settings, "on_commit": self._on_commit, "error_cb": self._on_error}
            )

    # -- called in the event loop

    def assign(self, version: int, positions: Mapping[TP, int]) -> None:
        """Read partitions from the offsets `positions`; batches carry `version` from then on.

        Offsets must be real ones, not logical ones such as "the beginning": librdkafka would have
        to look that up, would ask again half a second after a late answer, and would then seek
        back, even if it was assigned other offsets meanwhile.
        """
        parts = [TopicPartition(tp.topic, tp.partition, o) for tp, o in positions.items()]

        def assign() -> None:
            self._version = version
            self._parked_positions = None
            self._last_positions = {}
            self._read_from(parts)

        self._enqueue(assign)

    async def commit(
        self, offsets: Mapping[TP, NotedOffset], timeout_s: float
    ) -> KafkaError | None:
        """Commit offsets with notes for the next reader; return the error, if any.

        `timeout_s`: longest time that an unreachable coordinator may block the thread during a
        rebalance.
        """
        parts = [TopicPartition(*tp, offset.offset, offset.note) for tp, offset in offsets.items()]
        future: asyncio.Future[KafkaError | None] = self._loop.create_future()
        self._enqueue(lambda: self._commit(parts, timeout_s, future))
        return await future

    async def request_committed_offsets(
        self, tps: Iterable[TP], timeout_s: float
    ) -> dict[TP, NotedOffset]:
        """Return the committed offsets and their notes of the partitions that have any.

        Raises KafkaException.
        """
        parts = [TopicPartition(*tp) for tp in tps]
        committed_parts: list[TopicPartition] = await self._call(
            lambda: self._kafka.committed(parts, timeout=timeout_s)
        )
        for part in committed_parts:
            if part.error:
                raise KafkaException(part.error)
        return {
            TP(part.topic, part.partition): NotedOffset(part.offset, part.metadata or "")
            for part in committed_parts
            if part.offset >= 0
        }

    async def request_watermarks(self, tp: TP, timeout_s: float) -> tuple[int, int]:
        """Ask the broker for the first offset and the end of `tp`. Raises KafkaException."""
        part = TopicPartition(*tp)
        offsets: tuple[int, int] = await self._call(
            lambda: self._kafka.get_watermark_offsets(part, timeout=timeout_s)
        )
        return offsets

    def subscribe(self, topics: Iterable[str]) -> None:
        """Change the topics; the group rebalances."""
        self._topics = sorted(topics)
        self._enqueue(self._subscribe)

    def finish_batch(self, batch: Batch) -> None:
        """Count `batch` as processed, which frees its share of the limits."""
        with self._condition:
            self._waiting_batch_count -= 1
            self._waiting_bytes -= batch.size

    def close(self) -> None:
        """Ask the thread to end."""
        with self._condition:
            self._is_closing = True
            self._condition.notify()

    def _enqueue(self, call: Callable[[], None]) -> None:
        with self._condition:
            self._calls.append(call)
            self._condition.notify()

    async def _call(self, function: Callable[[], Any]) -> Any:
        future: asyncio.Future[Any] = self._loop.create_future()

        def call() -> None:
            try:
                result = function()
            except KafkaException as error:
                self._call_soon(_fail, future, error)
            else:
                self._call_soon(_succeed, future, result)

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
            while not self._is_closing:
                self._step()
        except BaseException as error:
            self._crash(error)
        finally:
            self._is_closing = True
            self._kafka.close()

    def _step(self) -> None:
        self._serve_calls()
        self._park_or_resume()
        self._poll()
        self._renew_lease()

    def _renew_lease(self) -> None:
        if not self._lease.renew():
            self._call_soon(self._listener.on_lost)

    def _subscribe(self) -> None:
        self._kafka.subscribe(
            self._topics,
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )

    def _serve_calls(self) -> None:
        while self._calls:
            self._last_activity_s = time.monotonic()
            self._calls.popleft()()
            self._renew_lease()

    def _park_or_resume(self) -> None:
        """Read nothing while the prefetch limits are reached; polls continue and serve callbacks.

        pause() is not an alternative: after resume() librdkafka would read again from assign()'s
        offsets.
        """
        limits = self._limits
        if self._parked_positions is None and self._has_reached(
            limits.max_batches, limits.max_bytes
        ):
            self._parked_positions = self._positions()
            self._kafka.assign([])
        elif self._parked_positions is not None and not self._has_reached(
            limits.max_batches // 2 + 1, limits.max_bytes // 2
        ):
            starts, self._parked_positions = self._parked_positions, None
            self._read_from(starts)

    def _read_from(self, starts: list[TopicPartition]) -> None:
        self._starts = starts
        self._delivered_partitions.clear()
        self._kafka.assign(starts)

    def _has_reached(self, batch_count: int, size: int) -> bool:
        return self._waiting_batch_count >= batch_count or self._waiting_bytes >= size

    def _suspend_reading(self) -> None:
        self._starts, self._parked_positions = [], None
        self._kafka.assign([])

    def _set_partitions(self, tps: set[TP]) -> None:
        self._own_tps = tps
        self.highwaters = {}

    def _unassign(self) -> None:
        """Give the partitions back.

        Only one call is allowed: in a closing group librdkafka regards any change of the assignment
        as the last one, and a second call may block for ever, with the GIL held.
        """
        self._starts, self._parked_positions = [], None
        self._set_partitions(set())
        self._kafka.unassign()

    def _positions(self) -> list[TopicPartition]:
        """Return the positions at which reading continues.

        Until librdkafka has delivered a record under the current assignment, it may report a
        position under an earlier assignment, from which records would be skipped; so the start is
        used instead.
        """
        positions = self._kafka.position(self._starts)
        return [
            part if (part.topic, part.partition) in self._delivered_partitions else start
            for part, start in zip(positions, self._starts, strict=True)
        ]

    def _poll(self) -> None:
        is_quiet = time.monotonic() - self._last_activity_s > _QUIET_DELAY_S
        first_message = self._kafka.poll(_QUIET_POLL_S if is_quiet else _POLL_S)
        messages = (
            []
            if first_message is None
            else [first_message, *self._kafka.consume(self._limits.max_batch_records - 1, 0)]
        )
        records = [message for message in cast(list[Record], messages) if self._is_record(message)]
        self._delivered_partitions.update(
            (record.topic(), record.partition()) for record in records
        )
        is_look_due = self._is_look_due()
        positions = self._changed_positions() if is_look_due else {}
        if records or positions:
            self._last_activity_s = time.monotonic()
            self._hand_over(Batch(self._version, records, sum(map(len, records)), positions))
        if is_look_due:
            self._update_highwaters()

    def _is_look_due(self) -> bool:
        now_s = time.monotonic()
        if now_s - self._last_look_s < _LOOK_INTERVAL_S:
            return False
        self._last_look_s = now_s
        return True

    def _hand_over(self, batch: Batch) -> None:
        with self._condition:
            self._waiting_batch_count += 1
            self._waiting_bytes += batch.size
        self._call_soon(self._listener.on_batch, batch)

    def _changed_positions(self) -> dict[TP, int]:
        former_positions = self._last_positions
        self._last_positions = {
            TP(part.topic, part.partition): part.offset for part in self._positions()
        }
        return {
            tp: offset
            for tp, offset in self._last_positions.items()
            if offset != former_positions.get(tp)
        }

    def _is_record(self, message: Record) -> bool:
        error = message.error()
        if error is None:
            return True
        if error.code() != KafkaError._PARTITION_EOF:
            self._on_error(error)
        return False

    def _update_highwaters(self) -> None:
        read_tps = {TP(part.topic, part.partition) for part in self._kafka.assignment()}
        ends = {
            tp: self._kafka.get_watermark_offsets(TopicPartition(*tp), cached=True)[1]
            for tp in read_tps
        }
        unread_tps = self._own_tps - read_tps
        if unread_tps and time.monotonic() - self._last_request_s >= _REQUEST_INTERVAL_S:
            self._last_request_s = time.monotonic()
            answers, failure = self._rounds.ask(unread_tps)
            ends |= answers
            if failure is not None:
                self._on_error(failure)
        valid_ends = {tp: end for tp, end in ends.items() if end >= 0}
        self.highwaters = {**self.highwaters, **valid_ends}

    def _request_end(self, tp: TP) -> int:
        end: int = self._kafka.get_watermark_offsets(TopicPartition(*tp), _REQUEST_TIMEOUT_S)[1]
        return end

    def _commit(
        self,
        parts: list[TopicPartition],
        timeout_s: float,
        future: "asyncio.Future[KafkaError | None]",
    ) -> None:
        try:
            if self._in_rebalance:
                # While the coordinator is away librdkafka would hold a commit for a whole session,
                # which is longer than the lease. So a bounded request first checks that the
                # coordinator answers.
                self._kafka.committed(parts, timeout=timeout_s)
                committed_parts = self._kafka.commit(offsets=parts, asynchronous=False)
                self._finish_commit(future, None, committed_parts)
            else:
                self._kafka.commit(offsets=parts, asynchronous=True)
                self._commits.append(future)  # its report comes with a later poll
        except KafkaException as error:
            self._finish_commit(future, error.args[0], None)

    def _on_commit(self, error: KafkaError | None, parts: list[TopicPartition]) -> None:
        if self._abandoned_commit_count:
            self._abandoned_commit_count -= 1
        else:
            self._finish_commit(self._commits.popleft(), error, parts)

    def _finish_commit(
        self,
        future: "asyncio.Future[KafkaError | None]",
        error: KafkaError | None,
        parts: list[TopicPartition] | None,
    ) -> None:
        failure = error or next((part.error for part in parts or () if part.error), None)
        self._call_soon(_succeed, future, failure)

    def _on_assign(self, kafka: confluent_kafka.Consumer, parts: list[TopicPartition]) -> None:
        self._suspend_reading()  # reading begins when the tables are restored
        tps = {TP(part.topic, part.partition) for part in parts}
        self._set_partitions(tps)
        self._wait_for(self._listener.on_assigned(tps))

    def _on_revoke(self, kafka: confluent_kafka.Consumer, parts: list[TopicPartition]) -> None:
        if not self._is_closing:
            self._wait_for(self._listener.on_revoked({TP(p.topic, p.partition) for p in parts}))
        self._unassign()

    def _on_lost(self, kafka: confluent_kafka.Consumer, parts: list[TopicPartition]) -> None:
        if not self._is_closing:
            self._lease.end()
            self._call_soon(self._listener.on_lost)
        self._unassign()

    def _on_error(self, error: KafkaError) -> None:
        if is_fatal(error):
            self._lease.end()
        self._call_soon(self._listener.on_client_error, error)

    def _wait_for(self, coroutine: Any) -> None:
        """Run a coroutine in the event loop, and serve that loop's calls until it is done."""
        future: Future[None] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        self._in_rebalance = True
        # Without polls, reports of commits in flight cannot arrive; the commits are repeated.
        while self._commits:
            self._abandoned_commit_count += 1
            self._finish_commit(self._commits.popleft(), KafkaError(KafkaError._TIMED_OUT), None)
        while not future.done() and not self._is_closing:
            with self._condition:
                if not self._calls:
                    self._condition.wait(_POLL_S)
            self._serve_calls()
            self._renew_lease()
        self._in_rebalance = False
        is_done = future.done() and not future.cancelled()
        if is_done and (error := future.exception()) is not None:
            self._crash(error)

    def _crash(self, error: BaseException) -> None:
        self._lease.end()
        self._call_soon(self._listener.on_crash, error)

    def _call_soon(self, function: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the loop is closed, so no listener is left
            self._is_closing = True


def _succeed(future: "asyncio.Future[Any]", result: object) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: "asyncio.Future[Any]", error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
