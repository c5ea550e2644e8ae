"""Folders and files that hold customers' data: nobody but their owner may look into them."""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

SUPERVISED: Final = "KAIROS_STACK"
"""Variable that is set to the home in every process of a stack, its supervisor included."""

_OTHERS: Final = 0o077
_OURS: Final = ("artifacts", "broker", "log", "run", "secret", "state")
"""What Kairos itself writes into a home; whatever else is there is left as it is."""


def keep_to_owner() -> None:
    """Make all that this process and its children write from now on readable by its owner only."""
    os.umask(_OTHERS)


def private_folder(folder: Path) -> None:
    """Make the folder, where it is not there, and close it to others."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _close(folder)


def make_home(home: Path) -> None:
    """Make the home, where it is not there, and close it to others.

    A process of the home's own stack does not make it: it was removed while that ran, and stays
    so. Raises FileNotFoundError there.
    """
    if os.environ.get(SUPERVISED) != str(home.resolve()):
        private_folder(home)
    elif not home.exists():
        raise FileNotFoundError(errno.ENOENT, "the home was removed", str(home))


def make_folder(home: Path, folder: Path) -> None:
    """Make a folder of the home with what is missing above it. Raises what `make_home` does."""
    make_home(home)
    parts = folder.relative_to(home).parts
    for depth in range(1, len(parts) + 1):
        home.joinpath(*parts[:depth]).mkdir(mode=0o700, exist_ok=True)


def close_home(home: Path) -> None:
    """Make the home, and close it to others with all that an earlier version left open in it."""
    was_open = home.exists() and bool(home.stat().st_mode & _OTHERS)
    make_home(home)
    if not was_open:
        return
    for name in _OURS:
        _close(home / name)
        for parent, folders, files in os.walk(home / name):
            for inner in (*folders, *files):
                _close(Path(parent) / inner)


def _close(path: Path) -> None:
    """What is gone by then, or is another user's, is none of ours."""
    with suppress(FileNotFoundError, PermissionError):
        mode = path.lstat().st_mode
        if mode & _OTHERS and not stat.S_ISLNK(mode):
            path.chmod(stat.S_IMODE(mode) & ~_OTHERS)
