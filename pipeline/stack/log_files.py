"""Bounded log files. A process appends to its file for good, so rotation copies and truncates:
it needs no help from the process, and logging goes on when the supervisor is gone."""

import shutil
from pathlib import Path
from typing import BinaryIO

from pipeline.adapters.private_files import make_folder

MAX_BYTES = 10 * 1024 * 1024


def log_folder(home: Path) -> Path:
    """Where the files are; made by the first that is opened."""
    return home / "log"


def open_log(home: Path, name: str) -> BinaryIO:
    """The log of process `name`, for its standard output and error."""
    make_folder(home, log_folder(home))
    path = log_folder(home) / f"{name}.log"
    return path.open("ab", buffering=0)


def rotate(home: Path, max_bytes: int = MAX_BYTES) -> None:
    """Move what is in each log larger than `max_bytes` to `<name>.log.1`, dropping what was there.

    Lines written between the copy and the truncation are lost.
    """
    for path in log_folder(home).glob("*.log"):
        if path.stat().st_size > max_bytes:
            shutil.copyfile(path, path.with_name(f"{path.name}.1"))
            with path.open("r+b") as file:
                file.truncate()


def tail(home: Path, name: str, lines: int = 15) -> str:
    """The last lines of a log; empty when there is none."""
    path = log_folder(home) / f"{name}.log"
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 16_384))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
