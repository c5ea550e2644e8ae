"""Places of watched files: a folder of this machine, or one on an SFTP server."""

import errno
import fcntl
import fnmatch
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final, Protocol

from pipeline.ingest.journal import Stamp
from pipeline.row_files.row import UnreadableError

DONE: Final = "done"
FAILED: Final = "failed"

_CHUNK_BYTES: Final = 1024 * 1024
_TEMPORARY_NAMES: Final = (
    ".*", "*.tmp", "*.temp", "*.part", "*.partial", "*.filepart", "*.crdownload", "*.swp", "*~",
)  # fmt: skip
"""Names of temporary files that programs have not finished."""

_DENIAL_ERRNOS: Final = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR, errno.EISDIR,
)  # fmt: skip


class PlaceError(Exception):
    """Raised for a place, or a file in it, that is unusable now; the message is the reason."""


class DeniedError(PlaceError):
    """Raised for an operation that the place permanently does not permit."""


class WatchedPlace(Protocol):
    """Folder with files, locked by this process if the place supports locks."""

    label: str
    """Name of the folder in reports; its files are `label/NAME`."""

    def files(self) -> list[Stamp]:
        """Return all files. Raises PlaceError, like the other methods."""
        ...

    def unchanged_time_s(self, stamp: Stamp) -> float:
        """Return the time (s) for which the file has certainly not changed; 0 if it is unknown."""
        ...

    def fetch(self, stamp: Stamp, target: IO[bytes], max_bytes: int) -> None:
        """Copy a listed file.

        Raises PlaceError if it has changed since, and UnreadableError if it is larger than
        `max_bytes`."""
        ...

    def move(self, name: str, folder: str, new_name: str) -> None:
        """Move a file into `folder`, replacing one with the new name."""
        ...

    def write(self, folder: str, name: str, content: Path) -> None:
        """Write the file `content` into `folder` under `name`, atomically."""
        ...

    def exists(self, folder: str, name: str) -> bool:
        """Return whether `folder` has a file with this name."""
        ...

    def read(self, folder: str, name: str, target: IO[bytes], max_bytes: int) -> None:
        """Copy a file of `folder`. Raises UnreadableError if it is larger than `max_bytes`."""
        ...


def fits(name: str, pattern: str, excludes: tuple[str, ...]) -> bool:
    """Return whether a file fits the pattern, and is neither temporary nor excluded."""
    return fnmatch.fnmatchcase(name, pattern) and not any(
        fnmatch.fnmatchcase(name, exclude) for exclude in (*_TEMPORARY_NAMES, *excludes)
    )


class LocalFolder:
    """Folder of this machine, locked against other watchers on it."""

    def __init__(self, folder: Path) -> None:
        self.label = str(folder)
        self._folder = folder

    def files(self) -> list[Stamp]:
        """Return the regular files; links are left out, because they may lead anywhere."""
        with _as_place_errors(self._folder):
            return [
                Stamp(entry.name, status.st_size, status.st_mtime_ns)
                for entry in os.scandir(self._folder)
                if stat.S_ISREG((status := entry.stat(follow_symlinks=False)).st_mode)
            ]

    def unchanged_time_s(self, stamp: Stamp) -> float:
        """Return the time since the file's `ctime`, which no sender can set."""
        with _as_place_errors(self._folder):
            return time.time() - (self._folder / stamp.name).lstat().st_ctime

    def fetch(self, stamp: Stamp, target: IO[bytes], max_bytes: int) -> None:
        with _as_place_errors(self._folder / stamp.name):
            flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW
            with os.fdopen(os.open(self._folder / stamp.name, flags), "rb") as file:
                _copy(file, target, max_bytes)
                status = os.fstat(file.fileno())
        if (status.st_size, status.st_mtime_ns) != (stamp.size, stamp.mtime):
            raise PlaceError(f"{self._folder / stamp.name} changes while it is read")

    def move(self, name: str, folder: str, new_name: str) -> None:
        with _as_place_errors(self._folder / name):
            (self._folder / folder).mkdir(exist_ok=True)
            (self._folder / name).replace(self._folder / folder / new_name)

    def write(self, folder: str, name: str, content: Path) -> None:
        with _as_place_errors(self._folder / folder / name):
            (self._folder / folder).mkdir(exist_ok=True)
            draft = self._folder / folder / f".{name}.part"
            shutil.copyfile(content, draft)
            draft.replace(self._folder / folder / name)

    def exists(self, folder: str, name: str) -> bool:
        with _as_place_errors(self._folder / folder):
            return (self._folder / folder / name).exists()

    def read(self, folder: str, name: str, target: IO[bytes], max_bytes: int) -> None:
        with _as_place_errors(self._folder / folder / name):
            flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW
            with os.fdopen(os.open(self._folder / folder / name, flags), "rb") as file:
                _copy(file, target, max_bytes)


@contextmanager
def open_folder(folder: Path) -> Iterator[LocalFolder]:
    """Provide the folder, locked against other watchers of any home. Raises PlaceError."""
    with _as_place_errors(folder):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield LocalFolder(folder)
    finally:
        with suppress(OSError):
            os.close(descriptor)


@contextmanager
def _as_place_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kind = DeniedError if error.errno in _DENIAL_ERRNOS else PlaceError
        raise kind(f"{error.filename or path}: {error.strerror or error}") from error


def _copy(file: IO[bytes], target: IO[bytes], max_bytes: int) -> None:
    remaining_bytes = max_bytes
    while chunk := file.read(_CHUNK_BYTES):
        remaining_bytes -= len(chunk)
        if remaining_bytes < 0:
            raise UnreadableError(f"it is larger than {max_bytes:,} bytes")
        target.write(chunk)
