"""Record, in the home, of the last file of each list that `kairos ingest` replaces as a whole."""

from pathlib import Path
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from pipeline.adapters.run_state import read_json, write_json

LISTS: Final = "lists"
_FILE: Final = "last.json"

Memory: TypeAlias = Literal["kept", "lost", "renewed"]
"""State of a list's members in this home: kept from its last file, lost, or renewed by the first
file after a loss, which removed no members."""


class LastFile(Struct, frozen=True, rename={"history_digest": "known_by"}):
    """Last file of a list. `digest`: of its content; `history_digest`: of it and all files before;
    `file`: its name in `done/`; `list`: the list that all of its rows name. `is_shared`: whether it
    is also recorded beside the watched folder."""

    digest: str
    history_digest: str
    file: str = ""
    list: str = ""
    memory: Memory = "kept"
    is_shared: bool = False


def ingest_folder(home: Path) -> Path:
    """Return the folder of a home that is for `kairos ingest` alone."""
    return home / "state" / "ingest"


def read_last_file(folder: Path) -> LastFile | None:
    """Return the recorded last file of the list in `folder`; None: none is recorded."""
    return read_json(folder / _FILE, LastFile)


def write_last_file(folder: Path, last_file: LastFile) -> None:
    """Replace the record of the last file."""
    write_json(folder / _FILE, last_file)


def find_incomplete_lists(home: Path) -> tuple[LastFile, ...]:
    """Return the last files of lists whose members are lost, or were lost before the last file,
    which then removed no members."""
    folders = sorted((ingest_folder(home) / LISTS).glob("*/*"))
    files = map(read_last_file, folders)
    return tuple(file for file in files if file is not None and file.memory != "kept")
