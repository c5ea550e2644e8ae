"""Keeper of the embedded broker: restarts it after a crash or a full disk."""

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
    """Keeper that restarts the broker after an unintended end.

    Processes that need the broker start only while it runs (`wait_until_running`).
    """

    def __init__(self, broker: Broker, may_start: Callable[[], bool]) -> None:
        self._running_event = asyncio.Event()
        self._broker = broker
        self._may_start = may_start
        self._last_broker: ProcessHandle | None = None
        self._task = asyncio.create_task(self._keep())

    async def wait_until_running(self) -> None:
        """Return as soon as the broker runs; read its status, since it may have just ended."""
        if self._broker.status() is None:
            self._running_event.clear()
        await self._running_event.wait()

    def stop(self) -> None:
        """Stop watching the broker; leave it as it is."""
        self._task.cancel()

    def kill(self) -> None:
        """Kill the last known broker."""
        process = self._last_broker.process() if self._last_broker else None
        with suppress(psutil.NoSuchProcess):
            if process is not None:
                process.kill()

    async def _keep(self) -> None:
        failures = 0
        while True:
            status = self._broker.status()
            if status is not None:
                self._last_broker = ProcessHandle.of(status.pid)
                failures = 0
                self._running_event.set()
            else:
                self._running_event.clear()
                failures += await self._start()
            await asyncio.sleep(pause_s(failures, random.random()) if failures else _LOOK_S)

    async def _start(self) -> int:
        """Start the broker if it was killed; return the number of failed starts, 0 or 1."""
        if not self._broker.was_killed() or not self._may_start():
            return 0
        _log.error("the broker has ended without being stopped: starting it again")
        result = await asyncio.to_thread(self._broker.start)
        if isinstance(result, BrokerFailure):
            _log.error("the broker does not start: %s", result.message)
            return 1
        _log.info("the broker runs as process %d", result.pid)
        return 0
