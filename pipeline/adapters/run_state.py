"""Announcements of a home's processes, each a small JSON file in `<home>/run/`."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

import msgspec

from pipeline.adapters.private_files import make_folder
from pipeline.adapters.process_identity import ProcessHandle

State: TypeAlias = Literal["starting", "ready", "stopping"]
T = TypeVar("T")


class Announcement(msgspec.Struct, frozen=True):
    """State of a process; `ports`: the ports that it listens on, by use (`http`)."""

    name: str
    process: ProcessHandle
    state: State
    ports: dict[str, int] = msgspec.field(default_factory=dict)


def run_folder(home: Path) -> Path:
    """Return the folder of announcements; writers create it, so that reading leaves no trace."""
    return home / "run"


def announce(home: Path, name: str, state: State, ports: dict[str, int] | None = None) -> None:
    """Announce this process as `name` in `state`; to be called at each change.

    A removed home is not re-created.
    """
    own_handle = ProcessHandle.of(os.getpid())
    assert own_handle is not None
    announcement = Announcement(name, own_handle, state, ports or {})
    if state == "starting":
        make_folder(home, run_folder(home))
        write_json(_file(home, name), announcement)
    else:
        with suppress(FileNotFoundError):
            write_json(_file(home, name), announcement)


def withdraw(home: Path, name: str) -> None:
    """Remove an announcement, at the end of its process or after its death."""
    _file(home, name).unlink(missing_ok=True)


def announcements(home: Path) -> dict[str, Announcement]:
    """Return the announcements of living processes, by name."""
    candidates = [
        read_json(path, Announcement) for path in run_folder(home).glob("*.announced.json")
    ]
    return {a.name: a for a in candidates if a is not None and a.process.process() is not None}


def write_json(path: Path, value: msgspec.Struct) -> None:
    """Replace the file atomically: a reader sees the old content or the new."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(msgspec.json.encode(value))
    draft.replace(path)


def read_json(path: Path, kind: type[T]) -> T | None:
    """Return the file's content; None if it is missing, or has another version's form."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return None


def _file(home: Path, name: str) -> Path:
    return run_folder(home) / f"{name}.announced.json"
