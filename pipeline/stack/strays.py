"""Finding and ending processes of a home that no supervisor looks after (it was killed)."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil

from pipeline.adapters.run_state import announcements
from pipeline.stack.supervisor import STACK_VARIABLE

_TERM_S = 10.0
_KILL_S = 5.0


def strays(home: Path) -> list[psutil.Process]:
    """Processes that a supervisor of this home started, and those that announced themselves."""
    found = {process.pid: process for process in _marked(home)}
    for announcement in announcements(home).values():
        process = announcement.process.process()
        if process is not None:
            found.setdefault(process.pid, process)
    found.pop(os.getpid(), None)
    return list(found.values())


def end(processes: Iterable[psutil.Process]) -> int:
    """TERM, then KILL for those that stay; returns how many there were, all gone now."""
    processes = list(processes)
    for process in processes:
        _signal(process, force=False)
    _, stubborn = psutil.wait_procs(processes, _TERM_S)
    for process in stubborn:
        _signal(process, force=True)
    psutil.wait_procs(stubborn, _KILL_S)
    return len(processes)


def _marked(home: Path) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        try:
            if process.environ().get(STACK_VARIABLE) == str(home):
                yield process
        except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
            continue


def _signal(process: psutil.Process, *, force: bool) -> None:
    try:
        process.kill() if force else process.terminate()
    except psutil.NoSuchProcess:
        return
