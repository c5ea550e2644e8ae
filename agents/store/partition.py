"""Partition of a table: a RocksDB, and the writes not yet persisted in it.

A write is visible at once and held in memory. `cut()` closes the set of writes that the next
checkpoint covers; `persist()` puts that set on disk together with the changelog offset it
corresponds to, in one atomic batch. So the disk always holds a prefix of the changelog.
"""

import contextlib
import logging
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from threading import Lock
from typing import Final

from rocksdict import Rdict, WriteBatch

from agents.store.rocks import META, open_database

_log = logging.getLogger(__name__)

_NEXT_OFFSET: Final = b"next-offset"
_TOKEN: Final = b"owner"
_DAMAGE_MARK: Final = "DAMAGED"

Row = tuple[bytes, bytes]
RowChange = tuple[bytes, bytes | None]


class StoreDamagedError(Exception):
    """Raised when a database's files are damaged; it is rebuilt at the next start of the
    process."""


class StoreUnavailableError(Exception):
    """Raised when a database cannot be opened, read or written, and its files are left as they are:
    the disk is full, too many files are open, or there is no permission."""


class StoreInUseError(StoreUnavailableError):
    """Raised when another process holds the database."""


@dataclass(frozen=True, slots=True)
class StoreSize:
    """Size of a store: `bytes` of its SST files; `rows` is an estimate."""

    bytes: int
    rows: int


class _Missing(Enum):
    """Mark of a key without a write in memory, as distinct from a deleted one."""

    TOKEN = 0


_MISSING: Final = _Missing.TOKEN


class PartitionStore:
    """Rows of one table partition; keys and values are bytes."""

    def __init__(self, path: Path) -> None:
        """Open the store in `path`; a damaged one is emptied, to be rebuilt.

        Raises StoreUnavailableError.
        """
        self.path = path
        self._recent_writes: dict[bytes, bytes | None] = {}
        self._cut_writes: dict[bytes, bytes | None] = {}
        self._compaction_lock = Lock()
        self._is_closed = False
        self._open()

    @property
    def next_offset(self) -> int:
        """Offset of the first changelog record that is not on disk."""
        return self._next_offset

    @property
    def token(self) -> int:
        """Fencing token of the changelog's owner at `next_offset`; 0: no owner so far."""
        return self._token

    def get(self, key: bytes) -> bytes | None:
        """Return the value of `key`, or None. Raises StoreDamagedError, StoreUnavailableError."""
        value = self._recent_writes.get(key, _MISSING)
        if value is not _MISSING:
            return value
        if self._cut_writes:
            value = self._cut_writes.get(key, _MISSING)
            if value is not _MISSING:
                return value
        try:
            disk_value: bytes | None = self._database.get(key)
        except Exception as error:
            raise self._mark_damage(error) from error
        return disk_value

    def put(self, key: bytes, value: bytes | None) -> None:
        """Set the value of `key`; None deletes it."""
        self._recent_writes[key] = value

    def scan(self, prefix: bytes = b"") -> Iterator[Row]:
        """Yield the present rows whose key begins with `prefix`, in key order.

        Raises StoreDamagedError, StoreUnavailableError: a scan never ends early.
        """
        changes = {
            key: value
            for writes in (self._cut_writes, self._recent_writes)
            for key, value in writes.items()
            if key.startswith(prefix)
        }
        return _merge(self._scan_disk(prefix), sorted(changes.items()))

    def cut(self) -> None:
        """Close the set of writes that the next `persist` puts on disk."""
        self._cut_writes.update(self._recent_writes)
        self._recent_writes = {}

    def persist(self, next_offset: int | None) -> None:
        """Put the writes before the cut on disk, with the changelog offset that follows them.

        Without an offset (nothing reached the changelog since the last call) the writes stay in
        memory. Raises StoreDamagedError, StoreUnavailableError.
        """
        if next_offset is None:
            return
        self._write(self._cut_writes.items(), next_offset, self._token)
        self._cut_writes = {}

    def size(self) -> StoreSize:
        """Return the size on disk, without a scan."""
        int_property = self._database.property_int_value
        return StoreSize(
            bytes=int_property("rocksdb.live-sst-files-size") or 0,
            rows=int_property("rocksdb.estimate-num-keys") or 0,
        )

    def compact(self) -> None:
        """Rewrite the files, so that deleted and overwritten values are gone from the disk.

        May run in another thread at any time; `close` waits for it.
        """
        with self._compaction_lock:
            if self._is_closed:
                return
            self._database.flush()
            self._meta.flush()  # the write-ahead log is shared
            self._database.compact_range(None, None)

    def restore(self, changes: Iterable[RowChange], next_offset: int, token: int = 0) -> None:
        """Apply changelog records below `next_offset`; `token`: the fencing token there.

        Raises StoreDamagedError, StoreUnavailableError.
        """
        self._write(changes, next_offset, token)

    def reset(self) -> None:
        """Delete everything, to be rebuilt from the beginning of the changelog."""
        self.close()
        shutil.rmtree(self.path)
        self._recent_writes, self._cut_writes = {}, {}
        self._is_closed = False
        self._open()

    def close(self) -> None:
        """Close the database; unpersisted writes are restored from the changelog."""
        with self._compaction_lock:
            self._is_closed = True
            del self._meta_handle  # it would keep the database open
            self._meta.close()
            self._database.close()

    def _open(self) -> None:
        if (self.path / _DAMAGE_MARK).exists():
            self._remove(f"an earlier error has left the mark {_DAMAGE_MARK}")
        try:
            self._database = open_database(self.path)
            self._read_metadata()
        except Exception as error:
            failure = _failure(self.path, error)
            if not isinstance(failure, StoreDamagedError):
                raise failure from error
            self._remove(str(error))
            self._database = open_database(self.path)
            self._read_metadata()

    def _remove(self, reason: str) -> None:
        _log.warning("%s is removed and rebuilt from its changelog: %s", self.path, reason)
        shutil.rmtree(self.path)

    def _read_metadata(self) -> None:
        self._meta: Rdict = self._database.get_column_family(META)
        self._meta_handle = self._database.get_column_family_handle(META)
        self._next_offset = int(self._meta.get(_NEXT_OFFSET) or b"0")
        self._token = int(self._meta.get(_TOKEN) or b"0")

    def _write(self, changes: Iterable[RowChange], next_offset: int, token: int) -> None:
        batch = WriteBatch(raw_mode=True)
        for key, value in changes:
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        batch.put(_NEXT_OFFSET, b"%d" % next_offset, self._meta_handle)
        batch.put(_TOKEN, b"%d" % token, self._meta_handle)
        try:
            self._database.write(batch)
        except Exception as error:
            raise self._mark_damage(error) from error
        self._next_offset, self._token = next_offset, token

    def _scan_disk(self, prefix: bytes) -> Iterator[Row]:
        rows = self._database.iter()
        rows.seek(prefix)
        while rows.valid():
            key: bytes = rows.key()
            if not key.startswith(prefix):
                return
            yield key, rows.value()
            rows.next()
        try:
            rows.status()  # a read error ends the iteration silently
        except Exception as error:
            raise self._mark_damage(error) from error

    def _mark_damage(self, error: Exception) -> Exception:
        """Mark the store if the error is damage; return the error as `_failure` does."""
        failure = _failure(self.path, error)
        if isinstance(failure, StoreDamagedError):
            with contextlib.suppress(OSError):  # without the mark the next read finds the damage
                (self.path / _DAMAGE_MARK).touch()
        return failure


def _failure(path: Path, error: Exception) -> StoreDamagedError | StoreUnavailableError:
    """Return the error as damage (corruption, or a missing file) or as an unavailable store.

    RocksDB distinguishes the two in its messages only, which also contain the path.
    """
    message, reason = f"{path}: {error}", str(error).replace(str(path), "")
    if "While lock file" in reason or "lock hold by" in reason:
        return StoreInUseError(
            f"{path} is in use: is another worker with the same instance running?"
        )
    is_corrupt = reason.startswith("Corruption") and "IO error" not in reason
    if is_corrupt or "No such file or directory" in reason:
        return StoreDamagedError(message)
    return StoreUnavailableError(message)


def _merge(rows: Iterator[Row], changes: list[RowChange]) -> Iterator[Row]:
    """Merge sorted changes into sorted rows; a change to None removes its row."""
    position = 0
    for key, value in rows:
        while position < len(changes) and changes[position][0] < key:
            changed_key, new_value = changes[position]
            position += 1
            if new_value is not None:
                yield changed_key, new_value
        if position < len(changes) and changes[position][0] == key:
            _, new_value = changes[position]
            position += 1
            if new_value is not None:
                yield key, new_value
        else:
            yield key, value
    for changed_key, new_value in changes[position:]:
        if new_value is not None:
            yield changed_key, new_value
