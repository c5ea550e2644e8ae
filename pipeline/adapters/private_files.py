"""Permissions of folders and files with customers' data, which only their owner may read."""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

STACK_VARIABLE: Final = "KAIROS_STACK"
"""Variable that is set to the home in every process of a stack, its supervisor included."""

_OTHER_USERS_MASK: Final = 0o077
_FOLDERS: Final = ("artifacts", "broker", "log", "run", "secret", "state")
"""Folders of a home that Kairos writes; others are not changed."""


def restrict_new_files() -> None:
    """Restrict files that this process and its children create to their owner."""
    os.umask(_OTHER_USERS_MASK)


def make_private_folder(folder: Path) -> None:
    """Create the folder if it is missing, and restrict it to its owner."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _revoke_access(folder)


def make_home(home: Path) -> None:
    """Create the home if it is missing, and restrict it to its owner.

    Raises FileNotFoundError in a process of the home's own stack if the home was removed: such a
    process does not create it again.
    """
    if os.environ.get(STACK_VARIABLE) != str(home.resolve()):
        make_private_folder(home)
    elif not home.exists():
        raise FileNotFoundError(errno.ENOENT, "the home was removed", str(home))


def make_folder(home: Path, folder: Path) -> None:
    """Create a folder of the home, and its missing parents. Raises as `make_home` does."""
    make_home(home)
    parts = folder.relative_to(home).parts
    for depth in range(1, len(parts) + 1):
        home.joinpath(*parts[:depth]).mkdir(mode=0o700, exist_ok=True)


def make_home_private(home: Path) -> None:
    """Create the home, and restrict it to its owner.

    Where it was open to other users, the folders that Kairos writes in it are restricted too.
    """
    was_open = home.exists() and bool(home.stat().st_mode & _OTHER_USERS_MASK)
    make_home(home)
    if not was_open:
        return
    for name in _FOLDERS:
        _revoke_access(home / name)
        for parent, folders, files in os.walk(home / name):
            for name_inside in (*folders, *files):
                _revoke_access(Path(parent) / name_inside)


def _revoke_access(path: Path) -> None:
    """Restrict a path to its owner; skip paths that are gone or belong to another user."""
    with suppress(FileNotFoundError, PermissionError):
        mode = path.lstat().st_mode
        if mode & _OTHER_USERS_MASK and not stat.S_ISLNK(mode):
            path.chmod(stat.S_IMODE(mode) & ~_OTHER_USERS_MASK)
