"""Reading the sent index waits for a leader that is away, but only while the index is needed."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from faust.types import TP

from agents.app import App, AppOptions, create_app
from agents.transport.options import TransportOptions
from agents.transport.records import NotedOffset
from agents.transport.sent_index import load_sent_index

_NO_BROKER = "localhost:1"
_INPUT = TP("in", 0)
_NEEDED_LOOK_COUNT = 5
"""Calls of `keep_going` after which the index is not needed any more."""
_UNREADABLE_PROPERTIES = {
    "receive.message.max.bytes": "1512",
    "fetch.max.bytes": "1000",
    "message.max.bytes": "1000",
}
"""Properties by which a client disconnects at every larger answer and asks again, as if the leader
were away."""
_START_WAIT_S = 0.1
_TIMEOUT_S = 30


@pytest.fixture
def broker() -> Iterator[str]:
    """Address of librdkafka's own broker, with an input; it lives as long as its client."""
    client = Producer({"bootstrap.servers": _NO_BROKER, "test.mock.num.brokers": 1, "log_level": 0})
    client.produce(_INPUT.topic, b"x" * 10_000, partition=_INPUT.partition)
    assert client.flush(_TIMEOUT_S) == 0
    [bootstrap_broker] = client.list_topics().brokers.values()
    yield f"{bootstrap_broker.host}:{bootstrap_broker.port}"
    client.purge()


def test_reading_an_unreadable_partition_ends_when_unneeded(broker: str) -> None:
    look_count = 0

    def keep_going() -> bool:
        nonlocal look_count
        look_count += 1
        return look_count <= _NEEDED_LOOK_COUNT

    options = TransportOptions(
        broker, "g", "0", librdkafka={"log_level": "0", **_UNREADABLE_PROPERTIES}
    )
    settings = options.changelog_reader_settings()
    assert load_sent_index(settings, "cause", ["out"], {_INPUT: NotedOffset(0)}, keep_going) is None
    assert look_count > _NEEDED_LOOK_COUNT


def _stop(app: App) -> None:
    app._stopped.set()


def _revoke(app: App) -> None:
    app.consumer._generation += 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("end", [_stop, _revoke])
def test_worker_ends_although_its_broker_is_away(
    tmp_path: Path, end: Callable[[App], None]
) -> None:
    librdkafka = {"log_level": "0"}
    options = AppOptions(_NO_BROKER, tmp_path, 1, cause_header="cause", librdkafka=librdkafka)
    asyncio.run(_end(create_app("stage", options), end))


async def _end(app: App, end: Callable[[App], None]) -> None:
    consumer = app.consumer
    await consumer.on_start()  # type: ignore[attr-defined]
    consumer._start_offsets = {_INPUT: NotedOffset(0)}  # type: ignore[attr-defined]
    task = asyncio.ensure_future(consumer.load_sent_index())  # type: ignore[attr-defined]
    await asyncio.sleep(_START_WAIT_S)
    assert not task.done()
    end(app)
    async with asyncio.timeout(_TIMEOUT_S):
        await task
