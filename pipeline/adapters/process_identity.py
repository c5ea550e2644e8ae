"""Identity of a process that survives the reuse of pids and changes of the clock."""

from functools import lru_cache
from pathlib import Path

import msgspec
import psutil


class ProcessHandle(msgspec.Struct, frozen=True):
    """Process by pid and start; `started` does not depend on the clock on Linux."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> "ProcessHandle | None":
        """Return the handle of a process; None if it has ended."""
        start = _start_time(pid)
        return None if start is None else cls(pid, start)

    def process(self) -> psutil.Process | None:
        """Return the living process; None if it is gone or only a zombie."""
        try:
            process = psutil.Process(self.pid)
            is_alive = process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return None
        return process if is_alive and _start_time(self.pid) == self.started else None


def _start_time(pid: int) -> str | None:
    """Return the start of a process; on Linux its boot id and ticks since the boot.

    A time of day would depend on a clock that may have been set since the start.
    """
    try:
        line = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return _start_by_clock(pid) if not Path("/proc/self/stat").exists() else None
    except ProcessLookupError:
        return None
    ticks = line.rpartition(")")[2].split()[19]
    return f"{_boot_id()}/{ticks}"


def _start_by_clock(pid: int) -> str | None:
    """Return the start of a process by the clock, on systems other than Linux."""
    try:
        return f"{psutil.Process(pid).create_time():.6f}"
    except psutil.NoSuchProcess:
        return None


@lru_cache(maxsize=1)
def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
