"""Work in order per key, side by side otherwise."""

import asyncio
from collections.abc import Coroutine
from typing import Any


class Lanes:
    """Runs in `group`, so that a bug in one piece of work ends them all."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._last: dict[str, asyncio.Task[None]] = {}
        self._closed = False

    def put(self, key: str, work: Coroutine[Any, Any, None]) -> None:
        """`work` begins when everything put under the same key before has ended.

        After `drain` it is not done at all.
        """
        if self._closed:
            work.close()
            return
        task = self._group.create_task(_after(self._last.get(key), work))
        self._last[key] = task
        task.add_done_callback(lambda done: self._ended(key, done))

    async def drain(self, timeout_s: float) -> None:
        """Takes no more work, waits for what there is, and cancels what takes longer."""
        self._closed = True
        if not self._last:
            return
        _, late = await asyncio.wait(set(self._last.values()), timeout=timeout_s)
        for task in late:
            task.cancel()

    def _ended(self, key: str, task: "asyncio.Task[None]") -> None:
        if self._last.get(key) is task:
            del self._last[key]


async def _after(before: "asyncio.Task[None] | None", work: Coroutine[Any, Any, None]) -> None:
    try:
        if before is not None:
            await asyncio.wait({before})
        await work
    finally:
        work.close()
