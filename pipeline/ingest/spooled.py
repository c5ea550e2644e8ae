"""Records of bytes in a file: written once, read from any place that was given with one."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

_HEAD: Final = struct.Struct("<II")


@dataclass(frozen=True, slots=True)
class SpooledRecord:
    """Record in a spool; `end`: where the next one begins."""

    key: bytes
    value: bytes
    end: int


def append(file: IO[bytes], key: bytes, value: bytes) -> None:
    """Add a record."""
    file.write(_HEAD.pack(len(key), len(value)))
    file.write(key)
    file.write(value)


def records(path: Path, position: int = 0) -> Iterator[SpooledRecord]:
    """Yield every record from `position` on."""
    with path.open("rb") as file:
        file.seek(position)
        while head := file.read(_HEAD.size):
            key_size, value_size = _HEAD.unpack(head)
            key, value = file.read(key_size), file.read(value_size)
            position += _HEAD.size + key_size + value_size
            yield SpooledRecord(key, value, position)
