"""Concurrent work that keeps the order within each key."""

import asyncio
from collections.abc import Coroutine
from typing import Any


class Lanes:
    """Lanes by key, whose tasks run in `group`: an exception in one ends them all."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._last_tasks: dict[str, asyncio.Task[None]] = {}
        self._closed = False

    def put(self, key: str, work: Coroutine[Any, Any, None]) -> None:
        """Start `work` once all earlier work of the same key has ended; drop it after `drain`."""
        if self._closed:
            work.close()
            return
        task = self._group.create_task(_run_after(self._last_tasks.get(key), work))
        self._last_tasks[key] = task
        task.add_done_callback(lambda ended_task: self._remove_task(key, ended_task))

    async def drain(self, timeout_s: float) -> None:
        """Accept no more work, wait for the accepted work, and cancel it after the timeout."""
        self._closed = True
        if not self._last_tasks:
            return
        _, overdue_tasks = await asyncio.wait(set(self._last_tasks.values()), timeout=timeout_s)
        for task in overdue_tasks:
            task.cancel()

    def _remove_task(self, key: str, task: "asyncio.Task[None]") -> None:
        if self._last_tasks.get(key) is task:
            del self._last_tasks[key]


async def _run_after(
    predecessor: "asyncio.Task[None] | None", work: Coroutine[Any, Any, None]
) -> None:
    try:
        if predecessor is not None:
            await asyncio.wait({predecessor})
        await work
    finally:
        work.close()
