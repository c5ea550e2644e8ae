"""Bounded log files.

A process keeps its file open for appending, so rotation copies and truncates: the process need not
reopen it, and logging goes on when the supervisor is gone.
"""

import shutil
from pathlib import Path
from typing import BinaryIO

from pipeline.adapters.private_files import make_folder

MAX_BYTES = 10 * 1024 * 1024


def log_folder(home: Path) -> Path:
    """Return the folder of the files; opening the first one creates it."""
    return home / "log"


def open_log(home: Path, name: str) -> BinaryIO:
    """Open the log of process `name`, for its standard output and error."""
    make_folder(home, log_folder(home))
    path = log_folder(home) / f"{name}.log"
    return path.open("ab", buffering=0)


def rotate(home: Path, max_bytes: int = MAX_BYTES) -> None:
    """Move the content of each log larger than `max_bytes` to `<name>.log.1`, replacing that.

    Lines written between the copy and the truncation are lost.
    """
    for path in log_folder(home).glob("*.log"):
        if path.stat().st_size > max_bytes:
            shutil.copyfile(path, path.with_name(f"{path.name}.1"))
            with path.open("r+b") as file:
                file.truncate()


def tail(home: Path, name: str, line_count: int = 15) -> str:
    """Return the last lines of a log; empty if there is none."""
    path = log_folder(home) / f"{name}.log"
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 16_384))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-line_count:])
