"""The embedded broker, looked after: one that was killed, or that a full disk ended, comes back."""

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import psutil

from pipeline.adapters.broker import Broker, BrokerFailure
from pipeline.adapters.process_identity import ProcessHandle
from pipeline.stack.pauses import pause_s

_LOOK_S: Final = 0.5

_log = logging.getLogger("kairos.supervisor")


class BrokerKeeper:
    """Starts the broker again when it has ended although nobody stopped it.

    `answers` is set while it runs: what needs it is started then only.
    """

    def __init__(self, broker: Broker, may_start: Callable[[], bool]) -> None:
        self.answers = asyncio.Event()
        self._broker = broker
        self._may_start = may_start
        self._last: ProcessHandle | None = None
        self._task = asyncio.create_task(self._keep())

    def stop(self) -> None:
        """Look after it no longer; it stays as it is."""
        self._task.cancel()

    def kill(self) -> None:
        """Kill the one that was last seen."""
        process = self._last.process() if self._last else None
        with suppress(psutil.NoSuchProcess):
            if process is not None:
                process.kill()

    async def _keep(self) -> None:
        failures = 0
        while True:
            running = self._broker.status()
            if running is not None:
                self._last = ProcessHandle.of(running.pid)
                failures = 0
                self.answers.set()
            else:
                self.answers.clear()
                failures += await self._start()
            await asyncio.sleep(pause_s(failures, random.random()) if failures else _LOOK_S)

    async def _start(self) -> int:
        """Return 1 if that failed, 0 if it did not or should not be done."""
        if not self._broker.was_killed() or not self._may_start():
            return 0
        _log.error("the broker has ended and nobody stopped it: starting it again")
        started = await asyncio.to_thread(self._broker.start)
        if isinstance(started, BrokerFailure):
            _log.error("the broker does not start: %s", started.message)
            return 1
        _log.info("the broker runs as process %d", started.pid)
        return 0
