"""Lag of a stage, as its metric and its timers see it."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from faust.types import TP

from agents.app import App, AppOptions, create_app
from tests.support.chain import committed_offsets, produce

_RECORDS = 10
_DELETIONS = 6
_BACKLOG = 3_000
"""More than the poller and the agent's buffer hold."""
_PATIENCE_S = 120


@pytest.fixture
def source(bootstrap: str, make_topic: Callable[..., str]) -> str:
    """Topic with records."""
    topic = make_topic("in")
    produce(bootstrap, topic, [(b"k", b"x")] * _RECORDS)
    return topic


def test_records_deleted_before_the_first_commit_are_no_lag(
    bootstrap: str, prefix: str, tmp_path: Path, source: str
) -> None:
    _delete(bootstrap, source, _DELETIONS)
    asyncio.run(_check_lag(_app(bootstrap, prefix, tmp_path), source, _RECORDS - _DELETIONS))


def test_records_deleted_before_processing_are_no_lag(
    bootstrap: str, prefix: str, tmp_path: Path, source: str
) -> None:
    asyncio.run(_check_lag(_app(bootstrap, prefix, tmp_path), source, _RECORDS))
    produce(bootstrap, source, [(b"k", b"x")] * _RECORDS)
    _delete(bootstrap, source, 2 * _RECORDS)
    asyncio.run(_check_lag(_app(bootstrap, prefix, tmp_path), source, 0))


def test_marker_of_a_transaction_is_no_lag(
    bootstrap: str, prefix: str, tmp_path: Path, source: str
) -> None:
    transactions = _Transactions(bootstrap, prefix, source)
    end = _RECORDS
    for abort_count in (0, 3):
        transactions.write(2, commit=True)
        end += 2 + 1
        if abort_count:
            transactions.write(abort_count, commit=False)
            end += abort_count + 1
        asyncio.run(_check_no_lag(_app(bootstrap, prefix, tmp_path), source))
        assert committed_offsets(bootstrap, f"{prefix}.lag", source, 1) == [end]


class _Transactions:
    """Producer of transactions, like that of an app upstream."""

    def __init__(self, bootstrap: str, prefix: str, topic: str) -> None:
        self._topic = topic
        self._producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": prefix})
        self._producer.init_transactions(_PATIENCE_S)

    def write(self, record_count: int, *, commit: bool) -> None:
        """Write records and a marker, which commits or aborts them."""
        producer = self._producer
        producer.begin_transaction()
        for _ in range(record_count):
            producer.produce(self._topic, b"x", b"k")
        producer.flush(_PATIENCE_S)
        finish = producer.commit_transaction if commit else producer.abort_transaction
        finish(_PATIENCE_S)


@pytest.mark.long
def test_records_written_while_reading_is_paused_count(
    bootstrap: str, prefix: str, tmp_path: Path, make_topic: Callable[..., str]
) -> None:
    source = make_topic("in")
    produce(bootstrap, source, [(b"k", b"x")] * _BACKLOG)
    asyncio.run(_check_lag_of_paused_reading(_app(bootstrap, prefix, tmp_path), source, bootstrap))


def _delete(bootstrap: str, source: str, end: int) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    position = TopicPartition(source, 0, end)
    admin.delete_records([position], operation_timeout=30)[position].result()


def _app(bootstrap: str, prefix: str, home: Path) -> App:
    options = AppOptions(bootstrap, home, partitions=1, group_prefix=prefix)
    return create_app("lag", options, stream_buffer_maxsize=64)


def _block_agent(app: App, source: str) -> asyncio.Event:
    """Make an agent wait until the event is set."""
    release_event = asyncio.Event()

    @app.agent(app.raw_topic(source))
    async def wait(stream: Any) -> None:
        async for _ in stream.events():
            await release_event.wait()

    return release_event


async def _check_lag(app: App, source: str, lag: int) -> None:
    release_event = _block_agent(app, source)
    consumer: Any = app.consumer
    await app.start()
    await _eventually(lambda: consumer.lag() == {TP(source, 0): lag})
    await _eventually(lambda: consumer.count_unprocessed(0) == lag)
    release_event.set()
    await _eventually(lambda: consumer.lag() == {TP(source, 0): 0})
    assert consumer.count_unprocessed(0) == 0
    await app.stop()


async def _check_no_lag(app: App, source: str) -> None:
    _block_agent(app, source).set()
    consumer: Any = app.consumer
    await app.start()
    await _eventually(lambda: consumer.lag() == {TP(source, 0): 0})
    await _eventually(lambda: consumer.count_unprocessed(0) == 0)
    await app.stop()


async def _check_lag_of_paused_reading(app: App, source: str, bootstrap: str) -> None:
    app.transport_options = replace(
        app.transport_options, max_batch_records=10, max_prefetched_batches=2
    )
    release_event = _block_agent(app, source)
    consumer: Any = app.consumer
    await app.start()
    await _eventually(lambda: consumer.lag() == {TP(source, 0): _BACKLOG})
    for extra_count in (1, 2):
        await asyncio.to_thread(produce, bootstrap, source, [(b"k", b"x")])
        await _eventually(
            lambda extra_count=extra_count: (
                consumer.lag() == {TP(source, 0): _BACKLOG + extra_count}
            )
        )
        await _eventually(
            lambda extra_count=extra_count: consumer.count_unprocessed(0) == _BACKLOG + extra_count
        )
    release_event.set()
    await _eventually(lambda: consumer.count_unprocessed(0) == 0)
    await app.stop()


async def _eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(_PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.05)
