"""A worker with all four agents, restarted whenever it ends, after the pauses of `kairos up`."""

import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pipeline.adapters.broker import BrokerFailure
from pipeline.stack.pauses import count_failures, pause_s
from tests.benchmarks.processes import Process, start
from tests.benchmarks.rig import NoRigError, Rig

_LOOK_S: Final = 0.01


@dataclass(frozen=True, slots=True)
class KillTimes:
    """Times (s, monotonic) of a kill and of the return of what was killed."""

    killed_at: float
    ready_at: float


class KeptWorker:
    """Worker that is restarted whenever it ends."""

    def __init__(self, rig: Rig, process: Process) -> None:
        self._rig = rig
        self._process = process
        self._start_lock = threading.Lock()
        self._is_running = True
        self._keeper = threading.Thread(target=self._restart_until_stopped, name="keeper")
        self._keeper.start()

    def stop(self) -> None:
        with self._start_lock:
            self._is_running = False
            self._process.end()
        self._keeper.join()

    def kill(self) -> KillTimes:
        return self._time_fault(lambda: self._process.end(signal.SIGKILL))

    def delete_state(self) -> KillTimes:
        def delete() -> None:
            self._process.end()
            shutil.rmtree(self._rig.home / "state")

        return self._time_fault(delete)

    def kill_broker(self) -> KillTimes:
        broker = self._rig.settings.broker()
        broker_process = broker.status()
        assert broker_process is not None
        killed_at = time.monotonic()
        os.kill(broker_process.pid, signal.SIGKILL)
        while broker.status() is not None:
            time.sleep(_LOOK_S)
        failure = broker.start()
        if isinstance(failure, BrokerFailure):
            raise NoRigError(failure.message)
        return KillTimes(killed_at, time.monotonic())

    def _time_fault(self, fault: Callable[[], None]) -> KillTimes:
        with self._start_lock:
            process = self._process
            killed_at = time.monotonic()
            fault()
        while self._process is process:
            time.sleep(_LOOK_S)
        self._process.wait_until_ready()
        return KillTimes(killed_at, time.monotonic())

    def _restart_until_stopped(self) -> None:
        failures = 0
        while True:
            begin_s = time.monotonic()
            self._process.child.wait()
            failures = count_failures(failures, time.monotonic() - begin_s)
            time.sleep(pause_s(failures, random.random()))
            with self._start_lock:
                if not self._is_running:
                    return
                program = self._process.program
                self._process = start(program, self._rig.home, self._rig.environment)
