"""Processes of a system under test, from their start until their end."""

import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from pipeline.adapters.run_state import announcements
from tests.benchmarks.hops.arguments import READY_LINE

_START_PATIENCE_S = 90.0
_STOP_S = 20.0
_LOOK_S = 0.05


class NotReadyError(Exception):
    """Raised when a process ends or hangs before it is ready; the message has its last lines."""


@dataclass(frozen=True, slots=True)
class Program:
    """Command line of a process; `announced_name`: name under which it reports readiness in
    HOME/run, or None if it prints READY_LINE."""

    name: str
    command: tuple[str, ...]
    announced_name: str | None = None


@dataclass(frozen=True, slots=True)
class Process:
    """Running program."""

    program: Program
    child: subprocess.Popen[bytes]
    log: Path
    home: Path

    @property
    def is_ready(self) -> bool:
        if self.program.announced_name is None:
            return READY_LINE in self.log.read_text(errors="replace")
        announcement = announcements(self.home).get(self.program.announced_name)
        return (
            announcement is not None
            and announcement.state == "ready"
            and announcement.process.pid == self.child.pid
        )

    def wait_until_ready(self, patience_s: float = _START_PATIENCE_S) -> None:
        """Wait until the program is ready. Raises NotReadyError."""
        deadline_s = time.monotonic() + patience_s
        while not self.is_ready:
            if self.child.poll() is not None or time.monotonic() > deadline_s:
                last_lines = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
                raise NotReadyError(f"{self.program.name} did not become ready:\n{last_lines}")
            time.sleep(_LOOK_S)

    def end(self, end_signal: signal.Signals = signal.SIGTERM) -> None:
        """Signal the process, and kill it if that is not enough."""
        self.child.send_signal(end_signal)
        try:
            self.child.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()


def start(program: Program, home: Path, environment: Mapping[str, str]) -> Process:
    """Start the program, with its output in a log file of its name in `home`."""
    log = home / f"{program.name}.log"
    with log.open("wb") as output:
        child = subprocess.Popen(
            program.command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,  # as `kairos up` does
        )
    return Process(program, child, log, home)


@contextmanager
def running(
    programs: Sequence[Program],
    home: Path,
    environment: Mapping[str, str],
    patience_s: float = _START_PATIENCE_S,
) -> Iterator[list[Process]]:
    """Run the programs during the block, which begins when all are ready."""
    processes: list[Process] = []
    try:
        processes.extend(start(program, home, environment) for program in programs)
        for process in processes:
            process.wait_until_ready(patience_s)
        yield processes
    finally:
        for process in processes:
            process.child.terminate()
        for process in processes:
            process.end()


class CpuMeter:
    """Meter of the CPU that processes use from its creation on."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._processes = {name: psutil.Process(pid) for name, pid in pids.items()}
        self._start_cpu_s = {name: _cpu_s(process) for name, process in self._processes.items()}
        self._begin_s = time.monotonic()

    def cores(self) -> dict[str, float]:
        """Return the cores in use on average since the creation of the meter, by name."""
        elapsed_s = time.monotonic() - self._begin_s
        return {
            name: (_cpu_s(process) - self._start_cpu_s[name]) / elapsed_s
            for name, process in self._processes.items()
        }


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
