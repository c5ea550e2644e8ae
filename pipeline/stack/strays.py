"""Finding and ending processes of a home that no supervisor looks after (it was killed)."""

import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import psutil

from pipeline.adapters.private_files import SUPERVISED
from pipeline.adapters.run_state import announcements

SUPERVISOR_MODULE = "pipeline.stack.supervisor"

_TERM_S = 10.0
_KILL_S = 5.0


def strays(home: Path) -> list[psutil.Process]:
    """Return the home's supervisor, processes that one started, and those that announced
    themselves; also where the home was removed under them."""
    found = {process.pid: process for process in _known(partial(_belongs, home))}
    for announcement in announcements(home).values():
        process = announcement.process.process()
        if process is not None:
            found.setdefault(process.pid, process)
    found.pop(os.getpid(), None)
    return list(found.values())


def stray_brokers(home: Path) -> list[psutil.Process]:
    """Return the home's brokers that no file tells of any more: the home was removed."""
    properties = str(home / "broker" / "server.properties")
    return list(_known(lambda process: process.cmdline()[-1:] == [properties]))


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


def _belongs(home: Path, process: psutil.Process) -> bool:
    if process.environ().get(SUPERVISED) == str(home):
        return True
    return process.cmdline()[-3:] == ["-m", SUPERVISOR_MODULE, str(home)]


def _known(is_meant: Callable[[psutil.Process], bool]) -> Iterator[psutil.Process]:
    """Zombies, and what other users run, apart."""
    for process in psutil.process_iter():
        try:
            if is_meant(process):
                yield process
        except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
            continue


def _signal(process: psutil.Process, *, force: bool) -> None:
    try:
        process.kill() if force else process.terminate()
    except psutil.NoSuchProcess:
        return
