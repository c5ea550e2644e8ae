"""Spool: a file of records of bytes, written once, readable from the `end` of any record."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

_HEAD: Final = struct.Struct("<II")


class SpooledRecord(Struct, frozen=True):
    """Record in a spool; `end`: position of the next one."""

    key: bytes
    value: bytes
    end: int


def record_bytes(key: bytes, value: bytes) -> bytes:
    """Return the bytes of a record in the file."""
    return _HEAD.pack(len(key), len(value)) + key + value


def records(path: Path, position: int = 0) -> Iterator[SpooledRecord]:
    """Yield every record from `position` on."""
    with path.open("rb") as file:
        file.seek(position)
        while head := file.read(_HEAD.size):
            key_size, value_size = _HEAD.unpack(head)
            record = file.read(key_size + value_size)
            position += _HEAD.size + key_size + value_size
            yield SpooledRecord(record[:key_size], record[key_size:], position)
