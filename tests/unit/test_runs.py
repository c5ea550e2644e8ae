"""Iteration in runs: order, acknowledgement, stale events, and turns for other tasks."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from agents.transport import runs
from agents.transport.runs import iterate_in_runs

pytestmark = pytest.mark.anyio

_LONG_RUN_S = 60.0


class _Event:
    """Event of a stream; `log` receives its number when it is acknowledged."""

    def __init__(self, number: int, log: list[str]) -> None:
        self.message = SimpleNamespace(number=number, timestamp=number)
        self._log = log

    def ack(self) -> None:
        self._log.append(f"ack {self.message.number}")


class _Stream:
    """Faust's side of a stream over a queue: a turn of the event loop per event. `stale_numbers`:
    numbers of the events that were read under an assignment that has ended."""

    def __init__(self, stale_numbers: frozenset[int] = frozenset()) -> None:
        self.log: list[str] = []
        queue: asyncio.Queue[_Event] = asyncio.Queue()
        self.queue = queue
        self.channel = SimpleNamespace(queue=queue)
        self.app = SimpleNamespace(
            consumer=SimpleNamespace(begin=lambda event: event.number not in stale_numbers),
            producer=SimpleNamespace(
                end_run=lambda timestamp: self.log.append(f"end at {timestamp}")
            ),
        )

    def put(self, *numbers: int) -> None:
        for number in numbers:
            self.queue.put_nowait(_Event(number, self.log))

    async def events(self) -> AsyncIterator[_Event]:
        while True:
            await asyncio.sleep(0)
            yield await self.queue.get()


async def _read(stream: _Stream, count: int) -> None:
    events: Any = iterate_in_runs(stream)
    for _ in range(count):
        event = await anext(events)
        stream.log.append(f"take {event.message.number}")
    await events.aclose()


async def _count_turns_of_another_task(stream: _Stream, count: int) -> int:
    """Return the number of turns that another task gets while `count` events are processed."""
    turn_count = 0

    async def count_turns() -> None:
        nonlocal turn_count
        while True:
            turn_count += 1
            await asyncio.sleep(0)

    counter = asyncio.ensure_future(count_turns())
    await _read(stream, count)
    counter.cancel()
    return turn_count


async def test_waiting_events_follow_in_order_each_acknowledged_before_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runs, "_MAX_RUN_S", _LONG_RUN_S)
    stream = _Stream()
    stream.put(1, 2, 3)
    await _read(stream, 3)
    assert stream.log == ["take 1", "ack 1", "take 2", "ack 2", "take 3"]


async def test_outputs_are_handed_over_once_nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "_MAX_RUN_S", _LONG_RUN_S)
    stream = _Stream()
    stream.put(1, 2)
    reader = asyncio.ensure_future(_read(stream, 3))
    await asyncio.sleep(0.01)
    assert stream.log == ["take 1", "ack 1", "take 2", "ack 2", "end at 2"]
    stream.put(3)
    await reader


async def test_other_tasks_get_a_turn_per_run_not_per_event(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runs, "_MAX_RUN_S", _LONG_RUN_S)
    stream = _Stream()
    stream.put(*range(20))
    assert await _count_turns_of_another_task(stream, 20) <= 2


async def test_run_ends_in_time_for_other_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "_MAX_RUN_S", 0.0)
    stream = _Stream()
    stream.put(*range(20))
    assert await _count_turns_of_another_task(stream, 20) >= 20


async def test_stale_events_are_dropped_without_acknowledgement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runs, "_MAX_RUN_S", _LONG_RUN_S)
    stream = _Stream(stale_numbers=frozenset({2, 3}))
    stream.put(1, 2, 3, 4)
    await _read(stream, 2)
    assert stream.log == ["take 1", "ack 1", "take 4"]
