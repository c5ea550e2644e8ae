"""Supervisor of a home's processes: `python -m pipeline.stack.supervisor HOME`, detached.

TERM or INT: stop everything, tier by tier. HUP: read the plan again and adapt the processes to it.
A process that exits is restarted, at once the first time, then after growing pauses, for ever; so
is the embedded broker, for which the others wait. Events are in `<home>/log/supervisor.log` and in
`kairos status`. If the home is removed, everything ends.
"""

import asyncio
import fcntl
import logging
import os
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from itertools import groupby
from pathlib import Path
from typing import IO

from pipeline.adapters.private_files import STACK_VARIABLE, make_folder, restrict_new_files
from pipeline.adapters.process_identity import ProcessHandle
from pipeline.adapters.run_state import run_folder, withdraw
from pipeline.home import logs
from pipeline.settings import Settings
from pipeline.stack.broker_keeper import BrokerKeeper
from pipeline.stack.log_files import open_log, rotate
from pipeline.stack.pauses import count_failures, pause_s
from pipeline.stack.plan import ProcessSpec
from pipeline.stack.supervision import (
    SupervisedProcess,
    Supervision,
    clear_supervision,
    read_plan,
    write_supervision,
)

_STOP_TIMEOUT_S = 10.0
_LOOK_S = 1.0

_log = logging.getLogger("kairos.supervisor")


class Keeper:
    """Keeper of one process, which runs until it is stopped; `wait` is called before each start of
    it."""

    def __init__(
        self,
        home: Path,
        spec: ProcessSpec,
        on_change: Callable[[], None],
        wait: Callable[[], Awaitable[None]],
    ) -> None:
        self.spec = spec
        self._wait = wait
        self.child = SupervisedProcess()
        self._home = home
        self._on_change = on_change
        self._process: asyncio.subprocess.Process | None = None
        self._task = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """Send TERM, and KILL if the process does not end in time."""
        self._task.cancel()
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _STOP_TIMEOUT_S)
        except TimeoutError:
            _log.warning("%s does not stop within %.0f s: killed", self.spec.name, _STOP_TIMEOUT_S)
            process.kill()
            await process.wait()
        withdraw(self._home, self.spec.name)
        _log.info("%s stopped", self.spec.name)

    async def _keep(self) -> None:
        failures = 0
        while True:
            await self._wait()
            start_s = time.monotonic()
            try:
                outcome = f"exited with {await self._run_once()}"
            except OSError as error:
                outcome = f"cannot be started: {error}"
            failures = count_failures(failures, time.monotonic() - start_s)
            pause = pause_s(failures, random.random())
            _log.error("%s %s; starts again in %.1f s", self.spec.name, outcome, pause)
            await asyncio.sleep(pause)

    async def _run_once(self) -> int:
        """Run the process in a session of its own until it exits; return its exit code.

        Linux schedules processors by session; within one session, a busy process starved all others
        for seconds, including the broker.
        """
        with open_log(self._home, self.spec.name) as log:
            self._process = process = await asyncio.create_subprocess_exec(
                *self.spec.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "KAIROS_HOME": str(self._home), STACK_VARIABLE: str(self._home)},
            )
        self._report(
            SupervisedProcess(
                ProcessHandle.of(process.pid), self.child.restarts, self.child.last_exit
            )
        )
        _log.info("%s runs as process %d", self.spec.name, process.pid)
        code = await process.wait()
        withdraw(self._home, self.spec.name)
        self._report(SupervisedProcess(None, self.child.restarts + 1, code))
        return code

    def _report(self, child: SupervisedProcess) -> None:
        self.child = child
        self._on_change()


class Supervisor:
    """Keepers of one home.

    `lock`: the open lock file; while it is the file at its path, the home exists.
    """

    def __init__(self, home: Path, lock: IO[str]) -> None:
        self._home = home
        self._lock = lock
        self._broker: BrokerKeeper | None = None
        self._handle = ProcessHandle.of(os.getpid())
        self._keepers: dict[str, Keeper] = {}
        self._stop_event = asyncio.Event()
        self._replan_event = asyncio.Event()

    async def run(self) -> None:
        """Run until TERM or INT, or until the home is removed; then stop all processes."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop_event.set)
        loop.add_signal_handler(signal.SIGINT, self._stop_event.set)
        loop.add_signal_handler(signal.SIGHUP, self._replan_event.set)
        self._keep_broker()
        await self._apply_plan()
        while not self._stop_event.is_set() and self._has_home():
            await self._wait_for_signal()
            self._rotate()
            if self._replan_event.is_set():
                self._replan_event.clear()
                await self._apply_plan()
        if self._broker is not None:
            self._broker.stop()
        if not self._has_home():
            _log.error("%s was removed: everything stops", self._home)
            self._kill_broker()
        await self._stop(list(self._keepers.values()))
        if self._has_home():
            clear_supervision(self._home)

    def _kill_broker(self) -> None:
        """Kill the broker: its data are gone, and it might recreate folders."""
        if self._broker is not None:
            self._broker.kill()

    def _keep_broker(self) -> None:
        settings = Settings().model_copy(update={"home": self._home})
        if settings.bootstrap_servers is None:
            self._broker = BrokerKeeper(settings.broker(), self._has_home)

    async def _wait_for_broker(self) -> None:
        """Wait for the embedded broker; clients of an external broker wait for it themselves."""
        if self._broker is not None:
            await self._broker.wait_until_running()

    def _has_home(self) -> bool:
        """Return whether this home still exists, and was not replaced by another at its path."""
        try:
            current = lock_file(self._home).stat()
        except OSError:
            return False
        return os.path.samestat(current, os.fstat(self._lock.fileno()))

    async def _wait_for_signal(self) -> None:
        signals = [asyncio.create_task(e.wait()) for e in (self._stop_event, self._replan_event)]
        await asyncio.wait(signals, timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
        for task in signals:
            task.cancel()

    async def _apply_plan(self) -> None:
        plan = read_plan(self._home)
        specs = {spec.name: spec for spec in plan.processes} if plan else {}
        surplus = [k for name, k in self._keepers.items() if specs.get(name) != k.spec]
        await self._stop(surplus)
        for keeper in surplus:
            del self._keepers[keeper.spec.name]
        for name, spec in specs.items():
            if name not in self._keepers:
                self._keepers[name] = Keeper(self._home, spec, self._publish, self._wait_for_broker)
        self._publish()

    async def _stop(self, keepers: list[Keeper]) -> None:
        sorted_keepers = sorted(keepers, key=lambda keeper: keeper.spec.tier)
        for _, tier in groupby(sorted_keepers, key=lambda keeper: keeper.spec.tier):
            await asyncio.gather(*(keeper.stop() for keeper in tier))

    def _publish(self) -> None:
        assert self._handle is not None
        if not self._has_home():
            return
        children = {name: keeper.child for name, keeper in self._keepers.items()}
        try:
            write_supervision(self._home, Supervision(self._handle, children))
        except OSError as error:
            _log.error("cannot report the state of the processes: %s", error)

    def _rotate(self) -> None:
        try:
            rotate(self._home)
        except OSError as error:
            _log.error("cannot rotate the logs: %s", error)


def lock_file(home: Path) -> Path:
    """Return the file that a home's supervisor holds."""
    return run_folder(home) / "supervisor.lock"


def main(home: Path) -> int:
    """Supervise a home; return 0 when stopped by a signal, 1 if another supervisor holds it."""
    restrict_new_files()
    logs.configure(Settings())
    make_folder(home, run_folder(home))
    with lock_file(home).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _log.error("another supervisor runs for %s", home)
            return 1
        asyncio.run(_supervise(home, lock))
    return 0


async def _supervise(home: Path, lock: IO[str]) -> None:
    await Supervisor(home, lock).run()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
