"""The thread that polls: nothing is read twice, however often it must wait for the agents."""

import asyncio
from collections import defaultdict
from collections.abc import Callable

import pytest
from confluent_kafka import OFFSET_BEGINNING, KafkaError
from faust.types import TP

from agents.transport.lease import Lease
from agents.transport.options import TransportOptions
from agents.transport.poller import Batch, Poller, Room
from tests.support.chain import produce

_RECORDS = 300
_SLOW_S = 0.01
_PATIENCE_S = 60
_MOST_WAITING = 20
"""Batches of few bytes: where there is room for 20 bytes, some 3 records of every batch wait."""


class _SlowListener:
    """Takes a while for each batch; `offsets` by partition, as they came."""

    def __init__(self) -> None:
        self.offsets: dict[int, list[int]] = defaultdict(list)
        self.everything = asyncio.Event()
        self.error: BaseException | None = None
        self.poller: Poller | None = None
        self.waiting = self.most_waiting = 0

    def on_batch(self, batch: Batch) -> None:
        assert self.poller is not None
        self.waiting += 1
        self.most_waiting = max(self.waiting, self.most_waiting)
        for record in batch.records:
            self.offsets[record.partition()].append(record.offset())
        asyncio.get_running_loop().call_later(_SLOW_S, self._done, batch)
        if sum(map(len, self.offsets.values())) >= _RECORDS:
            self.everything.set()

    def _done(self, batch: Batch) -> None:
        assert self.poller is not None
        self.waiting -= 1
        self.poller.batch_done(batch)

    async def on_assigned(self, tps: set[TP]) -> None:
        assert self.poller is not None
        self.poller.assign(1, dict.fromkeys(tps, OFFSET_BEGINNING))

    async def on_revoked(self, tps: set[TP]) -> None:
        return

    def on_lost(self) -> None:
        return

    def on_client_error(self, error: KafkaError) -> None:
        return

    def on_crash(self, error: BaseException) -> None:
        self.error = error
        self.everything.set()


class _FailingListener(_SlowListener):
    """Its disk is full."""

    async def on_assigned(self, tps: set[TP]) -> None:
        raise OSError("no space left")


@pytest.mark.parametrize(
    "room", [Room(5, batches=2, size=1 << 20), Room(5, batches=100, size=20)], ids=str
)
def test_reading_goes_on_where_it_was_however_often_it_waits(
    bootstrap: str, prefix: str, new_topic: Callable[..., str], room: Room
) -> None:
    topic = new_topic("in", partitions=6)
    produce(bootstrap, topic, [(b"key-%d" % (n % 60), b"%d" % n) for n in range(_RECORDS)])
    listener = asyncio.run(
        _reading(_SlowListener, TransportOptions(bootstrap, prefix, "0"), topic, room)
    )
    assert listener.error is None
    assert listener.most_waiting < _MOST_WAITING
    assert sum(map(len, listener.offsets.values())) == _RECORDS
    for partition, offsets in listener.offsets.items():
        assert offsets == list(range(len(offsets))), f"partition {partition}"


def test_what_goes_wrong_in_a_rebalance_is_told(
    bootstrap: str, prefix: str, new_topic: Callable[..., str]
) -> None:
    options = TransportOptions(bootstrap, prefix, "0")
    room = Room(5, batches=2, size=1 << 20)
    listener = asyncio.run(_reading(_FailingListener, options, new_topic("in"), room))
    assert isinstance(listener.error, OSError)


async def _reading(
    kind: type[_SlowListener], options: TransportOptions, topic: str, room: Room
) -> _SlowListener:
    listener = kind()
    listener.poller = poller = Poller(options.consumer(), [topic], listener, Lease(60), room)
    poller.start()
    async with asyncio.timeout(_PATIENCE_S):
        await listener.everything.wait()
    poller.close()
    await asyncio.to_thread(poller.join)
    return listener
