"""The polling thread reads nothing twice, however often it must wait for the agents."""

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Callable

import psutil
import pytest
from confluent_kafka import Consumer, KafkaError
from faust.types import TP

from agents.transport.errors import is_fatal
from agents.transport.lease import Lease
from agents.transport.options import TransportOptions
from agents.transport.poller import Batch, Poller, PrefetchLimits
from agents.transport.records import NotedOffset
from pipeline.adapters.transient import is_transient
from pipeline.settings import Settings
from tests.support.chain import produce

_RECORDS = 300
_BATCH_S = 0.01
_PATIENCE_S = 120
_REQUEST_S = 10
_SHORT_SESSION_MS = 1_000
_STANDSTILL_S = 3
_REST_S = 0.5
_COMMIT_TIMEOUT_S = 1.0
_LEASE_S = 10
_ABSENCE_S = 15
_LONG_SESSION_MS = 45_000
_LIMITS = PrefetchLimits(5, max_batches=2, max_bytes=1 << 20)

_ASSIGNMENTS = 10
_REASSIGN_S = 0.02
_EXTRA_WAIT_S = 0.7
"""Longer than the half second after which librdkafka asks again."""
_MAX_WAITING_BATCH_COUNT = 20
"""Batches of few bytes: where there is room for 20 bytes, some 3 records of every batch wait."""


class _SlowListener:
    """Listener that takes a while for each batch. `offsets` by partition, in the order of arrival;
    `end_event`: all records were read or a failure was reported; `was_held`: whether the lease was
    held as a failure was reported, None before."""

    def __init__(self) -> None:
        self.offsets: dict[int, list[int]] = defaultdict(list)
        self.end_event = asyncio.Event()
        self.error: BaseException | None = None
        self.poller: Poller | None = None
        self.options: TransportOptions | None = None
        self.waiting_batch_count = self.max_waiting_batch_count = 0
        self.lease = Lease(_PATIENCE_S)
        self.was_held: bool | None = None

    def on_batch(self, batch: Batch) -> None:
        assert self.poller is not None
        self.waiting_batch_count += 1
        self.max_waiting_batch_count = max(self.waiting_batch_count, self.max_waiting_batch_count)
        for record in batch.records:
            self.offsets[record.partition()].append(record.offset())
        asyncio.get_running_loop().call_later(_BATCH_S, self._finish, batch)
        if sum(map(len, self.offsets.values())) >= _RECORDS:
            self.end_event.set()

    def _finish(self, batch: Batch) -> None:
        assert self.poller is not None
        self.waiting_batch_count -= 1
        self.poller.finish_batch(batch)

    async def on_assigned(self, tps: set[TP]) -> None:
        self.read_from(await self.find_beginnings(tps))

    async def find_beginnings(self, tps: set[TP]) -> dict[TP, int]:
        assert self.poller is not None
        assert await self.poller.request_committed_offsets(tps, _REQUEST_S) == {}
        return {tp: (await self.poller.request_watermarks(tp, _REQUEST_S))[0] for tp in tps}

    def read_from(self, beginnings: dict[TP, int]) -> None:
        assert self.poller is not None
        self.poller.assign(1, beginnings)

    async def on_revoked(self, tps: set[TP]) -> None:
        return

    def on_lost(self) -> None:
        return

    def on_client_error(self, error: KafkaError) -> None:
        return

    def on_crash(self, error: BaseException) -> None:
        self.error = error
        self.end_event.set()


class _HastyListener(_SlowListener):
    """Listener that assigns again while an assignment is in flight, and once more after the
    last record."""

    async def on_assigned(self, tps: set[TP]) -> None:
        beginnings = await self.find_beginnings(tps)
        self.read_from(beginnings)
        await asyncio.sleep(_REASSIGN_S)
        self.read_from(beginnings)
        self.read_from(beginnings)
        self.assign_task = asyncio.create_task(self._go_on(tps))

    async def _go_on(self, tps: set[TP]) -> None:
        await self.end_event.wait()
        self.read_from({tp: len(self.offsets[tp.partition]) for tp in tps})


class _FailingListener(_SlowListener):
    """Listener whose disk is full."""

    async def on_assigned(self, tps: set[TP]) -> None:
        raise OSError("no space left")

    def on_crash(self, error: BaseException) -> None:
        self.was_held = self.lease.is_held
        super().on_crash(error)


class _StoppedListener(_SlowListener):
    """Listener that stops the poller's thread for longer than the member's session, and for less
    than its lease."""

    def __init__(self) -> None:
        super().__init__()
        self.lease = Lease(_PATIENCE_S, self._clock)
        self.standstill_event = threading.Event()

    def _clock(self) -> float:
        if self.standstill_event.is_set():
            self.standstill_event.clear()
            time.sleep(_STANDSTILL_S)
        return time.monotonic()

    async def on_assigned(self, tps: set[TP]) -> None:
        asyncio.get_running_loop().call_later(_REST_S, self.standstill_event.set)

    def on_lost(self) -> None:
        self.was_held = self.lease.is_held
        self.end_event.set()


class _FencedListener(_SlowListener):
    """Listener whose instance id another member takes."""

    async def on_assigned(self, tps: set[TP]) -> None:
        topics = {tp.topic for tp in tps}
        self.join_task = asyncio.create_task(asyncio.to_thread(self._join, topics))

    def _join(self, topics: set[str]) -> None:
        assert self.options is not None
        rival = Consumer(self.options.consumer_settings())
        rival.subscribe(list(topics))
        while not self.end_event.is_set():
            rival.poll(0.1)
        rival.close()

    def on_client_error(self, error: KafkaError) -> None:
        if is_fatal(error):
            self.was_held = self.lease.is_held
            self.end_event.set()


class _LeavingListener(_SlowListener):
    """Listener that commits as its partitions are taken back, while the coordinator is away."""

    broker: psutil.Process

    def __init__(self) -> None:
        super().__init__()
        self.lease = Lease(_LEASE_S)
        self.commit_error: KafkaError | None = None

    async def on_assigned(self, tps: set[TP]) -> None:
        topics = {tp.topic for tp in tps}
        asyncio.get_running_loop().call_later(_REST_S, self._change_subscription, topics)

    def _change_subscription(self, topics: set[str]) -> None:
        assert self.poller is not None
        self.poller.subscribe({*topics, "another"})

    async def on_revoked(self, tps: set[TP]) -> None:
        assert self.poller is not None
        if self.end_event.is_set():
            return
        self.broker.suspend()
        resumption = asyncio.get_running_loop().call_later(_ABSENCE_S, self.broker.resume)
        self.commit_error = await self.poller.commit(
            dict.fromkeys(tps, NotedOffset(0)), _COMMIT_TIMEOUT_S
        )
        resumption.cancel()
        self.broker.resume()
        self.end_event.set()


@pytest.mark.parametrize(
    "limits",
    [
        PrefetchLimits(5, max_batches=2, max_bytes=1 << 20),
        PrefetchLimits(5, max_batches=100, max_bytes=20),
    ],
    ids=str,
)
def test_reading_resumes_at_its_offset_after_any_number_of_waits(
    bootstrap: str, prefix: str, make_topic: Callable[..., str], limits: PrefetchLimits
) -> None:
    topic = make_topic("in", partitions=6)
    produce(bootstrap, topic, [(b"key-%d" % (n % 60), b"%d" % n) for n in range(_RECORDS)])
    listener = asyncio.run(
        _run_listener(_SlowListener, TransportOptions(bootstrap, prefix, "0"), topic, limits)
    )
    assert listener.error is None
    assert listener.max_waiting_batch_count < _MAX_WAITING_BATCH_COUNT
    assert sum(map(len, listener.offsets.values())) == _RECORDS
    for partition, offsets in listener.offsets.items():
        assert offsets == list(range(len(offsets))), f"partition {partition}"


def test_uncommitted_partition_is_read_once_over_repeated_assignments(
    bootstrap: str, prefix: str, make_topic: Callable[..., str]
) -> None:
    # librdkafka, asked to find the beginning, goes back there 500 ms after a late answer.
    topic = make_topic("in", partitions=6)
    produce(bootstrap, topic, [(b"key-%d" % (n % 60), b"%d" % n) for n in range(_RECORDS)])
    options, limits = (
        TransportOptions(bootstrap, prefix, "0"),
        PrefetchLimits(256, max_batches=16, max_bytes=1 << 20),
    )
    listener = asyncio.run(_run_listener(_HastyListener, options, topic, limits, _EXTRA_WAIT_S))
    assert listener.error is None
    assert sum(map(len, listener.offsets.values())) == _RECORDS


def test_failure_in_a_rebalance_is_reported(
    bootstrap: str, prefix: str, make_topic: Callable[..., str]
) -> None:
    options = TransportOptions(bootstrap, prefix, "0")
    listener = asyncio.run(_run_listener(_FailingListener, options, make_topic("in"), _LIMITS))
    assert isinstance(listener.error, OSError)
    assert listener.was_held is False


def test_lease_has_ended_when_a_loss_of_partitions_is_reported(
    bootstrap: str, prefix: str, make_topic: Callable[..., str]
) -> None:
    options = TransportOptions(
        bootstrap,
        prefix,
        "0",
        session_timeout_ms=_SHORT_SESSION_MS,
        max_poll_interval_ms=_SHORT_SESSION_MS,
    )
    listener = asyncio.run(_run_listener(_StoppedListener, options, make_topic("in"), _LIMITS))
    assert listener.was_held is False


def test_coordinator_that_is_away_in_a_rebalance_does_not_outlast_the_lease(
    settings: Settings, bootstrap: str, prefix: str, make_topic: Callable[..., str]
) -> None:
    broker_process = settings.broker().status()
    assert broker_process is not None

    class SuspendingListener(_LeavingListener):
        broker = psutil.Process(broker_process.pid)

    options = TransportOptions(bootstrap, prefix, "0", session_timeout_ms=_LONG_SESSION_MS)
    listener = asyncio.run(_run_listener(SuspendingListener, options, make_topic("in"), _LIMITS))
    assert isinstance(listener, SuspendingListener)
    assert listener.lease.is_held
    assert listener.commit_error is not None, "the coordinator was not away"
    assert is_transient(listener.commit_error)


def test_lease_has_ended_when_fencing_of_the_instance_id_is_reported(
    bootstrap: str, prefix: str, make_topic: Callable[..., str]
) -> None:
    options = TransportOptions(bootstrap, prefix, "0")
    listener = asyncio.run(_run_listener(_FencedListener, options, make_topic("in"), _LIMITS))
    assert listener.was_held is False


@pytest.mark.long
def test_new_assignment_over_a_backlog_is_read_from_its_offsets(
    bootstrap: str, prefix: str, make_topic: Callable[..., str]
) -> None:
    # librdkafka's position is that of the former assignment for a while.
    topic = make_topic("in", partitions=6)
    produce(bootstrap, topic, [(b"key-%d" % (n % 60), b"%d" % n) for n in range(_RECORDS)])
    options = TransportOptions(bootstrap, prefix, "0")
    offsets = asyncio.run(_read_first_offsets(options, topic))
    assert offsets == [0] * len(offsets)


async def _read_first_offsets(options: TransportOptions, topic: str) -> list[int]:
    """Return each partition's first offset under each of several assignments from the beginning.
    The thread's steps are taken here, since a call must come just when the prefetch limits are
    reached."""
    listener = _SlowListener()
    listener.poller = poller = Poller(
        options.consumer_settings(), [topic], listener, listener.lease, _LIMITS
    )
    beginnings = {TP(topic, partition): 0 for partition in range(6)}
    first_offsets: list[int] = []
    for version in range(_ASSIGNMENTS):
        poller.assign(version, beginnings)
        await asyncio.sleep(0)
        listener.offsets.clear()
        while len(listener.offsets) < len(beginnings):
            await _step(poller)
        first_offsets += [offsets[0] for offsets in listener.offsets.values()]
        while listener.waiting_batch_count < _LIMITS.max_batches:
            await _step(poller)
    return first_offsets


async def _step(poller: Poller) -> None:
    poller._step()
    await asyncio.sleep(0)


async def _run_listener(
    kind: type[_SlowListener],
    options: TransportOptions,
    topic: str,
    limits: PrefetchLimits,
    extra_wait_s: float = 0,
) -> _SlowListener:
    """Poll until the listener's end event and for `extra_wait_s` more; return the listener."""
    listener = kind()
    listener.options = options
    listener.poller = poller = Poller(
        options.consumer_settings(), [topic], listener, listener.lease, limits
    )
    poller.start()
    async with asyncio.timeout(_PATIENCE_S):
        await listener.end_event.wait()
        await asyncio.sleep(extra_wait_s)
    poller.close()
    await asyncio.to_thread(poller.join)
    return listener
