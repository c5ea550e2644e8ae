"""Which rows are the same: an id for each row that has none of its own.

Without key columns a row is the same when it stands in the same file with the same content, as the
n-th of those that are equal: so a row that is mended or taken out moves no other, equal rows of one
file count each, and so do equal rows of two files. With key columns it is the same when these are.
"""

import sqlite3
from collections.abc import Mapping
from hashlib import blake2b
from typing import Final
from uuid import UUID, uuid5

import msgspec

from pipeline.intake.refusal import Refusal, bad

_FILES: Final = UUID("5d3b1f6e-6c0f-5a52-9d55-0b6c54f1f0b7")
_COUNT: Final = (
    "INSERT INTO seen VALUES (?, 1) ON CONFLICT (digest) DO UPDATE SET n = n + 1 RETURNING n"
)
_CACHE_KIB: Final = 32_768


class RowIds:
    """Ids for one reading of one file; `file` names it, `keys` are columns (dotted in JSON).

    What was seen of the file is in a temporary database, which goes to disk where it is large.
    """

    def __init__(self, file: str, keys: tuple[str, ...] = ()) -> None:
        self._file = file
        self._keys = keys
        self._seen = sqlite3.connect("")
        self._seen.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._seen.execute("PRAGMA journal_mode = OFF")
        self._seen.execute("PRAGMA synchronous = OFF")
        self._seen.execute(
            "CREATE TABLE seen (digest BLOB PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID"
        )

    def next_id(self, raw: bytes) -> str | Refusal:
        """The id of the row with this JSON; to be asked once per row, in their order. Refused
        where a key column is empty."""
        if self._keys:
            return self._by_keys(raw)
        digest = blake2b(raw, digest_size=16).digest()
        [(number,)] = self._seen.execute(_COUNT, (digest,)).fetchall()
        return str(uuid5(_FILES, msgspec.json.encode([self._file, digest, number]).decode()))

    def _by_keys(self, raw: bytes) -> str | Refusal:
        record = msgspec.json.decode(raw)
        values = [_value_at(record, key) for key in self._keys]
        for key, value in zip(self._keys, values, strict=True):
            if value is None:
                return bad("missing_key", key, f"the key column {key} is empty")
        return str(uuid5(_FILES, msgspec.json.encode([self._keys, values]).decode()))


def _value_at(record: object, key: str) -> object:
    """What stands at a dotted place, whether it is nested or its name has the dots."""
    if not isinstance(record, Mapping):
        return None
    if key in record:
        return record[key]
    first, dot, rest = key.partition(".")
    if first == "identifiers" and isinstance(record.get(first), list):
        named = [one for one in record[first] if isinstance(one, Mapping)]
        return next((one.get("value") for one in named if one.get("namespace") == rest), None)
    return _value_at(record.get(first), rest) if dot else None
