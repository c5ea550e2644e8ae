"""Which process is meant: a pid is given to another program in time, and clocks are set."""

from functools import lru_cache
from pathlib import Path

import msgspec
import psutil


class Handle(msgspec.Struct, frozen=True):
    """A process. `started`: when it was started, in a form that no setting of a clock changes."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> "Handle | None":
        """Return the handle of a process; None when there is no such process any more."""
        started = _started(pid)
        return None if started is None else cls(pid, started)

    def process(self) -> psutil.Process | None:
        """Return the living process, None when it is gone or only a zombie."""
        try:
            process = psutil.Process(self.pid)
            alive = process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return None
        return process if alive and _started(self.pid) == self.started else None


def _started(pid: int) -> str | None:
    """On Linux in ticks since the machine's start, and which start that was: the time of day is
    derived from these, by a clock that may have been set since."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return _started_by_clock(pid) if not Path("/proc/self/stat").exists() else None
    except ProcessLookupError:
        return None
    ticks = line.rpartition(")")[2].split()[19]
    return f"{_boot()}/{ticks}"


def _started_by_clock(pid: int) -> str | None:
    """Elsewhere the system keeps the time at which it started the process."""
    try:
        return f"{psutil.Process(pid).create_time():.6f}"
    except psutil.NoSuchProcess:
        return None


@lru_cache(maxsize=1)
def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
