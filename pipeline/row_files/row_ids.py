"""Ids of rows without one, so that a file sent again counts once.

Without key columns the id is made of the file's name, the row's content, and the number of equal
rows up to it: correcting or removing a row changes no other row's id, and equal rows, of one file
or of two, count each. With key columns the id is made of their values.
"""

import sqlite3
from collections.abc import Mapping
from hashlib import blake2b
from typing import Final, Protocol
from uuid import UUID

import msgspec

from pipeline.intake.decoding import decode
from pipeline.intake.refusal import Refusal, refuse
from pipeline.model.ids import uuid5_text
from pipeline.row_files.mapping import TIME
from pipeline.row_files.row import FileRow

_FILE_NAMESPACE: Final = UUID("5d3b1f6e-6c0f-5a52-9d55-0b6c54f1f0b7")
_COUNT: Final = (
    "INSERT INTO seen VALUES (?, 1) ON CONFLICT (digest) DO UPDATE SET n = n + 1 RETURNING n"
)
_RECORD: Final = msgspec.json.Decoder()
_CACHE_KIB: Final = 32_768


class Ids(Protocol):
    """Ids for the rows of one file, requested in their order."""

    def next_id(self, row: FileRow) -> str | Refusal:
        """Return the row's id; refuse a row with an empty key column."""
        ...


class LineIds:
    """Ids made of a file's digest and the row's line, which a corrected mapping does not change."""

    def __init__(self, file: str) -> None:
        self._file = file

    def next_id(self, row: FileRow) -> str | Refusal:
        return uuid5_text(_FILE_NAMESPACE, f"{self._file}:{row.line}")


class StatementIds:
    """Ids made of a row's content, so that a repeated statement counts once.

    A statement with a time counts once over all files, one without a time once per file (`digest`).
    """

    def __init__(self, digest: str) -> None:
        self._digest = digest

    def next_id(self, row: FileRow) -> str | Refusal:
        record = decode(row.raw, _RECORD)
        if isinstance(record, Refusal):
            return record
        is_timed = isinstance(record, Mapping) and TIME in record
        statement = msgspec.json.encode(["" if is_timed else self._digest, record], order="sorted")
        return uuid5_text(_FILE_NAMESPACE, statement.decode())


class RowIds:
    """Ids for one reading of one file; `file` names it, `keys` are columns (dotted in JSON).

    Contents are counted in a temporary database, which is on disk if it is large.
    """

    def __init__(self, file: str, keys: tuple[str, ...] = ()) -> None:
        self._file = file
        self._keys = keys
        self._counts = sqlite3.connect("")
        self._counts.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._counts.execute("PRAGMA journal_mode = OFF")
        self._counts.execute("PRAGMA synchronous = OFF")
        self._counts.execute(
            "CREATE TABLE seen (digest BLOB PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID"
        )

    def next_id(self, row: FileRow) -> str | Refusal:
        """Return the id of the next row; refuse one with an empty key column."""
        raw = row.raw
        if self._keys:
            return self._keyed_id(raw)
        digest = blake2b(raw, digest_size=16).digest()
        [(number,)] = self._counts.execute(_COUNT, (digest,)).fetchall()
        parts = msgspec.json.encode([self._file, digest, number])
        return uuid5_text(_FILE_NAMESPACE, parts.decode())

    def _keyed_id(self, raw: bytes) -> str | Refusal:
        record = decode(raw, _RECORD)
        if isinstance(record, Refusal):
            return record
        values = [_value_at(record, key) for key in self._keys]
        for key, value in zip(self._keys, values, strict=True):
            if value is None:
                return refuse("missing_key", key, f"the key column {key} is empty")
        return uuid5_text(_FILE_NAMESPACE, msgspec.json.encode([self._keys, values]).decode())


def _value_at(record: object, key: str) -> object:
    """Return the value of a dotted name, nested or with the dots in its key."""
    if not isinstance(record, Mapping):
        return None
    if key in record:
        return record[key]
    first_part, dot, other_parts = key.partition(".")
    if first_part == "identifiers" and isinstance(record.get(first_part), list):
        identifiers = [part for part in record[first_part] if isinstance(part, Mapping)]
        return next(
            (part.get("value") for part in identifiers if part.get("namespace") == other_parts),
            None,
        )
    return _value_at(record.get(first_part), other_parts) if dot else None
