"""Stray processes of a home, left behind by a supervisor that was killed."""

import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import psutil

from pipeline.adapters.private_files import STACK_VARIABLE
from pipeline.adapters.run_state import announcements

SUPERVISOR_MODULE = "pipeline.stack.supervisor"

_TERM_S = 10.0
_KILL_S = 5.0


def strays(home: Path) -> list[psutil.Process]:
    """Return the home's supervisor, its children, and processes that announced themselves.

    Finds them also if the home was removed.
    """
    processes = {
        process.pid: process for process in _matching_processes(partial(_belongs_to, home))
    }
    for announcement in announcements(home).values():
        process = announcement.process.process()
        if process is not None:
            processes.setdefault(process.pid, process)
    processes.pop(os.getpid(), None)
    return list(processes.values())


def stray_brokers(home: Path) -> list[psutil.Process]:
    """Return the home's brokers, also those that no file records, such as of a removed home."""
    properties = str(home / "broker" / "server.properties")
    return list(_matching_processes(lambda process: process.cmdline()[-1:] == [properties]))


def end(processes: Iterable[psutil.Process]) -> int:
    """Send TERM, then KILL to those that stay; return their number, all gone now."""
    processes = list(processes)
    for process in processes:
        _signal(process, force=False)
    _, survivors = psutil.wait_procs(processes, _TERM_S)
    for process in survivors:
        _signal(process, force=True)
    psutil.wait_procs(survivors, _KILL_S)
    return len(processes)


def _belongs_to(home: Path, process: psutil.Process) -> bool:
    if process.environ().get(STACK_VARIABLE) == str(home):
        return True
    return process.cmdline()[-3:] == ["-m", SUPERVISOR_MODULE, str(home)]


def _matching_processes(matches: Callable[[psutil.Process], bool]) -> Iterator[psutil.Process]:
    """Yield matching processes, except zombies and those of other users."""
    for process in psutil.process_iter():
        try:
            if matches(process):
                yield process
        except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
            continue


def _signal(process: psutil.Process, *, force: bool) -> None:
    try:
        process.kill() if force else process.terminate()
    except psutil.NoSuchProcess:
        return
