"""Lock of a home: one command at a time changes its processes."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from pipeline.adapters.private_files import make_home_private

_WAIT_S: Final = 180.0
"""Time (s) to wait; longer than `up` takes to start everything, or to give up."""

_LOOK_S: Final = 0.1


class HomeBusyError(Exception):
    """Raised when another command holds the home for too long; the message names the remedy."""


@contextmanager
def home_lock(home: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the home, as soon as no other command holds it. Raises HomeBusyError.

    The operating system releases the lock when the process ends, even if it is killed.
    """
    deadline = time.monotonic() + _WAIT_S
    is_announced = False
    while True:
        make_home_private(home)
        with (home / "lock").open("a") as file:
            if _try_lock(file):
                if _is_file_at(file, home / "lock"):
                    yield
                    return
                continue  # the home was removed and recreated meanwhile
        if not is_announced:
            say("waiting for another `kairos up` or `kairos down` of this home")
            is_announced = True
        if time.monotonic() > deadline:
            raise HomeBusyError(
                f"another `kairos up` or `kairos down` has held {home} for over {_WAIT_S:.0f} s: "
                "end it (Ctrl-C, or kill its process), then try again"
            )
        time.sleep(_LOOK_S)


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_file_at(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
