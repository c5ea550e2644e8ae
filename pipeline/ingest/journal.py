"""Journal of each file's progress, so that a kill neither loses nor duplicates rows.

A file is identified by the digests of its content and of its watch's mapping, not by its name. It
is `sending` from the time when its first record may be in Kafka until it has been moved.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from pipeline.adapters.clock import now_ms

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS taken (
    content TEXT NOT NULL, name TEXT NOT NULL, rows INTEGER NOT NULL, rejected INTEGER NOT NULL,
    at INTEGER NOT NULL, PRIMARY KEY (content)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sending (
    content TEXT NOT NULL, position INTEGER NOT NULL, letters TEXT, sent INTEGER NOT NULL,
    PRIMARY KEY (content)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS left_behind (
    watch TEXT NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL, mtime INTEGER NOT NULL,
    PRIMARY KEY (watch, name)
) WITHOUT ROWID;
"""
_BUSY_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Stamp:
    """Entry of a listing; an entry with another size or time is another file. `mtime`: in the
    place's unit."""

    name: str
    size: int
    mtime: int


@dataclass(frozen=True, slots=True)
class TakenFile:
    """File that was taken completely."""

    name: str
    row_count: int
    rejected_count: int
    at: int


@dataclass(frozen=True, slots=True)
class SendProgress:
    """Progress of sending a file. `position`: byte up to which Kafka has acknowledged the prepared
    records. `letters`: end offsets of the topic of dead letters, by partition, before the first one
    of this file; None if no dead letter was sent yet. `is_sent`: whether Kafka has acknowledged
    everything."""

    position: int = 0
    letters: dict[int, int] | None = None
    is_sent: bool = False


class Journal:
    """Journal of a home; safe to use from any thread and process. Its methods raise
    OperationalError if the disk is full."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "journal.sqlite"
        self._has_tables = False  # created on demand: a full disk may have room by then

    def find_taken_file(self, content: str) -> TakenFile | None:
        """Return the record of a file that was taken completely, if there is one."""
        query = "SELECT name, rows, rejected, at FROM taken WHERE content = ?"
        with self._open() as connection:
            row = connection.execute(query, (content,)).fetchone()
        return None if row is None else TakenFile(*row)

    def find_progress(self, content: str) -> SendProgress:
        """Return the progress of sending a file."""
        query = "SELECT position, letters, sent FROM sending WHERE content = ?"
        with self._open() as connection:
            row = connection.execute(query, (content,)).fetchone()
        if row is None:
            return SendProgress()
        letters = None if row[1] is None else msgspec.json.decode(row[1], type=dict[int, int])
        return SendProgress(row[0], letters, bool(row[2]))

    def record_progress(self, content: str, progress: SendProgress) -> None:
        """Record the progress of sending a file."""
        letters = None
        if progress.letters is not None:
            letters = msgspec.json.encode(progress.letters).decode()
        values = (content, progress.position, letters, int(progress.is_sent))
        with self._open() as connection:
            connection.execute("INSERT OR REPLACE INTO sending VALUES (?, ?, ?, ?)", values)

    def finish(self, content: str, name: str, row_count: int, rejected_count: int) -> None:
        """Note that the file has been taken and moved."""
        values = (content, name, row_count, rejected_count, now_ms())
        with self._open() as connection:
            connection.execute("INSERT OR REPLACE INTO taken VALUES (?, ?, ?, ?, ?)", values)
            connection.execute("DELETE FROM sending WHERE content = ?", (content,))

    def note_unmoved_file(self, watch: str, stamp: Stamp) -> None:
        """Note that a finished file could not be moved, so that it is not taken again."""
        values = (watch, stamp.name, stamp.size, stamp.mtime)
        with self._open() as connection:
            connection.execute("INSERT OR REPLACE INTO left_behind VALUES (?, ?, ?, ?)", values)

    def is_unmoved(self, watch: str, stamp: Stamp) -> bool:
        """Return whether a finished file could not be moved."""
        query = "SELECT size, mtime FROM left_behind WHERE watch = ? AND name = ?"
        with self._open() as connection:
            row = connection.execute(query, (watch, stamp.name)).fetchone()
        return row is not None and tuple(row) == (stamp.size, stamp.mtime)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=_BUSY_S)) as connection, connection:
            if not self._has_tables:
                connection.executescript(_TABLES)
                self._has_tables = True
            yield connection
