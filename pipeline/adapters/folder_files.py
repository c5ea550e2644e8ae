"""Files of an untrusted folder: regular files inside it, of a bounded size.

A device, a FIFO or a link to elsewhere could block the reader, exhaust memory, or disclose other
files.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

_MAX_ENTRIES: Final = 20_000


@dataclass(frozen=True, slots=True)
class FileRefusal:
    """Reason why a file is refused, with a remedy."""

    reason: str


class TooManyFilesError(Exception):
    """Raised when a folder has more files than any configuration could have."""


def find_file(folder: Path, name: str, max_bytes: int) -> Path | FileRefusal:
    """Return the path of a regular file inside `folder` with at most `max_bytes`."""
    relative_path = PurePosixPath(name)
    if not name or "\0" in name or relative_path.is_absolute() or ".." in relative_path.parts:
        return FileRefusal(
            "is not a file of this folder: name it relative to the folder, without .."
        )
    path = folder / relative_path
    try:
        is_inside = path.resolve(strict=True).is_relative_to(folder.resolve())
        status = path.stat()
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its links form a circle"
        return FileRefusal(f"cannot be read: {reason}")
    if not is_inside:
        return FileRefusal("is a link out of this folder: put the file itself there")
    if not stat.S_ISREG(status.st_mode):
        return FileRefusal("is not a regular file")
    if status.st_size > max_bytes:
        return FileRefusal(f"is larger than {max_bytes:,} bytes")
    return path


def read_file(folder: Path, name: str, max_bytes: int) -> bytes | FileRefusal:
    """Return the content of a file of `folder`, subject to the same checks as `find_file`."""
    path = find_file(folder, name, max_bytes)
    if isinstance(path, FileRefusal):
        return path
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        return FileRefusal(f"cannot be read: {error.strerror}")
    return data if len(data) <= max_bytes else FileRefusal(f"is larger than {max_bytes:,} bytes")


def list_files(folder: Path) -> Iterator[str]:
    """Yield the names of all files in `folder`; skip hidden ones, and do not follow links to
    folders.

    Raises TooManyFilesError.
    """
    count = 0
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        count += len(folders) + len(files)
        if count > _MAX_ENTRIES:
            raise TooManyFilesError
        for name in sorted(files):
            if not name.startswith("."):
                yield (Path(parent) / name).relative_to(folder).as_posix()
