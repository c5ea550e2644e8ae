"""A worker that cannot commit ends, rather than going on for ever without a commit."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError
from faust.types import TP

from agents.app import App, AppOptions, create_app
from agents.transport.errors import CommitStalledError

pytestmark = pytest.mark.anyio

_INPUT = TP("in", 0)
_STALL_MS = 200
_LONGER_MS = 2_000
"""Stall within which a busy machine retries a commit, but not all of a run."""
_STALL_REASON = f"not committed within {_STALL_MS} ms"
_HANG_S = 60
_COMMIT_COUNT = 60

_Commit = Callable[[Mapping[TP, int], int], Awaitable[KafkaError | None]]


@pytest.fixture
def app(tmp_path: Path) -> App:
    app = create_app("stage", AppOptions("localhost:1", tmp_path, 1, librdkafka={"log_level": "0"}))
    app.transport_options = replace(
        app.transport_options, commit_stall_ms=_STALL_MS, commit_interval_ms=20
    )
    return app


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (KafkaError._TIMED_OUT, _STALL_REASON),
        (KafkaError.NOT_COORDINATOR, _STALL_REASON),
        (KafkaError.REBALANCE_IN_PROGRESS, _STALL_REASON),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, "commit failed"),
    ],
)
async def test_worker_whose_commits_always_fail_ends(app: App, code: int, reason: str) -> None:
    async def fail(_: Mapping[TP, int], __: int) -> KafkaError:
        await asyncio.sleep(0)
        return KafkaError(code)

    assert reason in await _end(app, fail)


async def test_worker_whose_commit_is_not_answered_ends(app: App) -> None:
    async def wait(_: Mapping[TP, int], __: int) -> None:
        await asyncio.Event().wait()

    assert _STALL_REASON in await _end(app, wait)


async def test_worker_whose_output_is_not_delivered_ends_uncommitted(app: App) -> None:
    async def refuse(_: Mapping[TP, int], __: int) -> None:
        pytest.fail("committed before it was delivered")

    assert _STALL_REASON in await _end(app, refuse, b"output")


async def test_worker_goes_on_while_some_commits_succeed(app: App) -> None:
    # Each commit fails at first; together they take longer than a single one may.
    app.transport_options = replace(app.transport_options, commit_stall_ms=_LONGER_MS)
    commit_offsets: list[int] = []

    async def commit(offsets: Mapping[TP, int], _: int) -> KafkaError | None:
        await asyncio.sleep(0)
        commit_offsets.append(offsets[_INPUT])
        if len(commit_offsets) % 2:
            return KafkaError(KafkaError._TIMED_OUT)
        if len(commit_offsets) == _COMMIT_COUNT:
            return KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED)
        _process(app.consumer, offsets[_INPUT])
        return None

    assert "commit failed" in await _end(app, commit)
    assert commit_offsets == [1 + number // 2 for number in range(_COMMIT_COUNT)]


async def _end(app: App, commit: _Commit, output: bytes | None = None) -> str:
    """Return the error that ends a worker that has processed an event."""
    consumer: Any = app.consumer
    async with app.producer, asyncio.timeout(_HANG_S):
        consumer._commit_with_notes = commit
        await consumer.on_start()
        if output is not None:
            app.producer.send_raw("out", None, output)  # type: ignore[attr-defined]
        _process(consumer, 0)
        await consumer._commit_handler.fun(consumer)
    assert isinstance(app.failure, CommitStalledError)
    return str(app.failure)


def _process(consumer: Any, offset: int) -> None:
    """Mark an event as delivered to its agent and acknowledged."""
    consumer._progress.record_delivery(_INPUT, offset)
    consumer._acked_index[_INPUT].add(offset)
