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
_SLOW_S = 0.01
_PATIENCE_S = 120
_REQUEST_S = 10
_SHORT_MS = 1_000
_TOO_LONG_S = 3
_SETTLED_S = 0.5
_ASKED_S = 1.0
_LEASE_S = 10
_AWAY_S = 15
_LONG_SESSION_MS = 45_000
_ROOM = PrefetchLimits(5, batches=2, size=1 << 20)

_TIMES = 10
_REASSIGN_S = 0.02
_LATER_S = 0.7
"""Longer than the half second after which librdkafka asks again."""
_MOST_WAITING = 20
"""Batches of few bytes: where there is room for 20 bytes, some 3 records of every batch wait."""


class _SlowListener:
    """Listener that takes a while for each batch; `offsets` by partition, as they came, and
    `was_held`: whether the lease was held as a failure was reported."""

    def __init__(self) -> None:
        self.offsets: dict[int, list[int]] = defaultdict(list)
        self.everything = asyncio.Event()
        self.error: BaseException | None = None
        self.poller: Poller | None = None
        self.options: TransportOptions | None = None
        self.waiting = self.most_waiting = 0
        self.lease = Lease(_PATIENCE_S)
        self.was_held: bool | None = None

    def on_batch(self, batch: Batch) -> None:
        assert self.poller is not None
        self.waiting += 1
        self.most_waiting = max(self.waiting, self.most_waiting)
        for record in batch.records:
            self.offsets[record.partition()].append(record.offset())
        asyncio.get_running_loop().call_later(_SLOW_S, self._finish, batch)
        if sum(map(len, self.offsets.values())) >= _RECORDS:
            self.everything.set()

    def _finish(self, batch: Batch) -> None:
        assert self.poller is not None
        self.waiting -= 1
        self.poller.finish_batch(batch)

    async def on_assigned(self, tps: set[TP]) -> None:
        self.read_from(await self.places(tps))

    async def places(self, tps: set[TP]) -> dict[TP, int]:
        assert self.poller is not None
        assert await self.poller.committed(tps, _REQUEST_S) == {}
        return {tp: (await self.poller.watermarks(tp, _REQUEST_S))[0] for tp in tps}

    def read_from(self, places: dict[TP, int]) -> None:
        assert self.poller is not None
        self.poller.assign(1, places)

    async def on_revoked(self, tps: set[TP]) -> None:
        return

    def on_lost(self) -> None:
        return

    def on_client_error(self, error: KafkaError) -> None:
        return

    def on_crash(self, error: BaseException) -> None:
        self.error = error
        self.everything.set()


class _HastyListener(_SlowListener):
    """Listener that assigns again while an assignment is in flight, and once more after the
    last record."""

    async def on_assigned(self, tps: set[TP]) -> None:
        places = await self.places(tps)
        self.read_from(places)
        await asyncio.sleep(_REASSIGN_S)
        self.read_from(places)
        self.read_from(places)
        self.assigning = asyncio.create_task(self._go_on(tps))

    async def _go_on(self, tps: set[TP]) -> None:
        await self.everything.wait()
        self.read_from({tp: len(self.offsets[tp.partition]) for tp in tps})


class _FailingListener(_SlowListener):
    """Listener whose disk is full."""

    async def on_assigned(self, tps: set[TP]) -> None:
        raise OSError("no space left")

    def on_crash(self, error: BaseException) -> None:
        self.was_held = self.lease.is_held
        super().on_crash(error)


class _StoppedListener(_SlowListener):
    """Listener that stops the poller's thread for longer than a member may, though not than its
    lease."""

    def __init__(self) -> None:
        super().__init__()
        self.lease = Lease(_PATIENCE_S, self._clock)
        self.stand_still = threading.Event()

    def _clock(self) -> float:
        if self.stand_still.is_set():
            self.stand_still.clear()
            time.sleep(_TOO_LONG_S)
        return time.monotonic()

    async def on_assigned(self, tps: set[TP]) -> None:
        asyncio.get_running_loop().call_later(_SETTLED_S, self.stand_still.set)

    def on_lost(self) -> None:
        self.was_held = self.lease.is_held
        self.everything.set()


class _FencedListener(_SlowListener):
    """Listener whose instance id another member takes."""

    async def on_assigned(self, tps: set[TP]) -> None:
        topics = {tp.topic for tp in tps}
        self.joining = asyncio.create_task(asyncio.to_thread(self._join, topics))

    def _join(self, topics: set[str]) -> None:
        assert self.options is not None
        rival = Consumer(self.options.consumer_settings())
        rival.subscribe(list(topics))
        while not self.everything.is_set():
            rival.poll(0.1)
        rival.close()

    def on_client_error(self, error: KafkaError) -> None:
        if is_fatal(error):
            self.was_held = self.lease.is_held
            self.everything.set()


class _LeavingListener(_SlowListener):
    """Listener that commits as its partitions are taken back, while the coordinator is away."""

    broker: psutil.Process

    def __init__(self) -> None:
        super().__init__()
        self.lease = Lease(_LEASE_S)
        self.outcome: KafkaError | None = None

    async def on_assigned(self, tps: set[TP]) -> None:
        topics = {tp.topic for tp in tps}
        asyncio.get_running_loop().call_later(_SETTLED_S, self._change, topics)

    def _change(self, topics: set[str]) -> None:
        assert self.poller is not None
        self.poller.subscribe({*topics, "another"})

    async def on_revoked(self, tps: set[TP]) -> None:
        assert self.poller is not None
        if self.everything.is_set():
            return
        self.broker.suspend()
        resumption = asyncio.get_running_loop().call_later(_AWAY_S, self.broker.resume)
        self.outcome = await self.poller.commit(dict.fromkeys(tps, NotedOffset(0)), _ASKED_S)
        resumption.cancel()
        self.broker.resume()
        self.everything.set()


@pytest.mark.parametrize(
    "room",
    [PrefetchLimits(5, batches=2, size=1 << 20), PrefetchLimits(5, batches=100, size=20)],
    ids=str,
)
def test_reading_resumes_at_its_offset_after_any_number_of_waits(
    bootstrap: str, prefix: str, new_topic: Callable[..., str], room: PrefetchLimits
) -> None:
    topic = new_topic("in", partitions=6)
    produce(bootstrap, topic, [(b"key-%d" % (n % 60), b"%d" % n) for n in range(_RECORDS)])
    listener = asyncio.run(
        _read_all(_SlowListener, TransportOptions(bootstrap, prefix, "0"), topic, room)
    )
    assert listener.error is None
    assert listener.most_waiting < _MOST_WAITING
    assert sum(map(len, listener.offsets.values())) == _RECORDS
    for partition, offsets in listener.offsets.items():
        assert offsets == list(range(len(offsets))), f"partition {partition}"


def test_uncommitted_partition_is_read_once_over_repeated_assignments(
    bootstrap: str, prefix: str, new_topic: Callable[..., str]
) -> None:
    # librdkafka, asked to find the beginning, goes back there 500 ms after a late answer.
    topic = new_topic("in", partitions=6)
    produce(bootstrap, topic, [(b"key-%d" % (n % 60), b"%d" % n) for n in range(_RECORDS)])
    options, room = (
        TransportOptions(bootstrap, prefix, "0"),
        PrefetchLimits(256, batches=16, size=1 << 20),
    )
    listener = asyncio.run(_read_all(_HastyListener, options, topic, room, _LATER_S))
    assert listener.error is None
    assert sum(map(len, listener.offsets.values())) == _RECORDS


def test_failure_in_a_rebalance_is_reported(
    bootstrap: str, prefix: str, new_topic: Callable[..., str]
) -> None:
    options = TransportOptions(bootstrap, prefix, "0")
    listener = asyncio.run(_read_all(_FailingListener, options, new_topic("in"), _ROOM))
    assert isinstance(listener.error, OSError)
    assert listener.was_held is False


def test_lease_has_ended_when_a_loss_of_partitions_is_reported(
    bootstrap: str, prefix: str, new_topic: Callable[..., str]
) -> None:
    options = TransportOptions(
        bootstrap, prefix, "0", session_timeout_ms=_SHORT_MS, max_poll_interval_ms=_SHORT_MS
    )
    listener = asyncio.run(_read_all(_StoppedListener, options, new_topic("in"), _ROOM))
    assert listener.was_held is False


def test_coordinator_that_is_away_in_a_rebalance_does_not_outlast_the_lease(
    settings: Settings, bootstrap: str, prefix: str, new_topic: Callable[..., str]
) -> None:
    broker_process = settings.broker().status()
    assert broker_process is not None

    class Leaving(_LeavingListener):
        broker = psutil.Process(broker_process.pid)

    options = TransportOptions(bootstrap, prefix, "0", session_timeout_ms=_LONG_SESSION_MS)
    listener = asyncio.run(_read_all(Leaving, options, new_topic("in"), _ROOM))
    assert isinstance(listener, Leaving)
    assert listener.lease.is_held
    assert listener.outcome is not None, "the coordinator was not away"
    assert is_transient(listener.outcome)


def test_lease_has_ended_when_fencing_of_the_instance_id_is_reported(
    bootstrap: str, prefix: str, new_topic: Callable[..., str]
) -> None:
    options = TransportOptions(bootstrap, prefix, "0")
    listener = asyncio.run(_read_all(_FencedListener, options, new_topic("in"), _ROOM))
    assert listener.was_held is False


@pytest.mark.long
def test_new_assignment_over_a_backlog_is_read_from_its_offsets(
    bootstrap: str, prefix: str, new_topic: Callable[..., str]
) -> None:
    # librdkafka's position is that of the former assignment for a while.
    topic = new_topic("in", partitions=6)
    produce(bootstrap, topic, [(b"key-%d" % (n % 60), b"%d" % n) for n in range(_RECORDS)])
    options = TransportOptions(bootstrap, prefix, "0")
    starts = asyncio.run(_first_offsets(options, topic))
    assert starts == [0] * len(starts)


async def _first_offsets(options: TransportOptions, topic: str) -> list[int]:
    """Return each partition's first offset under each of several assignments from the beginning.
    The thread's steps are taken here, since a call must come just when the prefetch limits are
    reached."""
    listener = _SlowListener()
    listener.poller = poller = Poller(
        options.consumer_settings(), [topic], listener, listener.lease, _ROOM
    )
    beginnings = {TP(topic, partition): 0 for partition in range(6)}
    first_offsets: list[int] = []
    for version in range(_TIMES):
        poller.assign(version, beginnings)
        await asyncio.sleep(0)
        listener.offsets.clear()
        while len(listener.offsets) < len(beginnings):
            await _step(poller)
        first_offsets += [offsets[0] for offsets in listener.offsets.values()]
        while listener.waiting < _ROOM.batches:
            await _step(poller)
    return first_offsets


async def _step(poller: Poller) -> None:
    poller._step()
    await asyncio.sleep(0)


async def _read_all(
    kind: type[_SlowListener],
    options: TransportOptions,
    topic: str,
    room: PrefetchLimits,
    longer_s: float = 0,
) -> _SlowListener:
    listener = kind()
    listener.options = options
    listener.poller = poller = Poller(
        options.consumer_settings(), [topic], listener, listener.lease, room
    )
    poller.start()
    async with asyncio.timeout(_PATIENCE_S):
        await listener.everything.wait()
        await asyncio.sleep(longer_s)
    poller.close()
    await asyncio.to_thread(poller.join)
    return listener
