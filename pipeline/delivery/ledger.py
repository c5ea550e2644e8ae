"""What became of each action, on disk, so that no restart and no replay delivers it again."""

from datetime import timedelta
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from pipeline.adapters.rocks import open_rows

_KEPT: Final = timedelta(days=14)
"""Twice as long as the action topics keep their records by default."""


class Entry(Struct, frozen=True, array_like=True):
    """`report` is the outcome as the gateway takes it, empty while nobody knows; `accepted`,
    whether the gateway has it."""

    report: bytes = b""
    accepted: bool = False


class Ledger:
    """One process at a time; survives a kill at any point."""

    def __init__(self, folder: Path) -> None:
        self._rows = open_rows(folder, int(_KEPT.total_seconds()))
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Entry)

    def get(self, action_id: str) -> Entry | None:
        row = self._rows.get(action_id.encode())
        return None if row is None else self._decoder.decode(row)

    def put(self, action_id: str, entry: Entry) -> None:
        self._rows[action_id.encode()] = self._encoder.encode(entry)

    def close(self) -> None:
        self._rows.close()
