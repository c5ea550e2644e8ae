"""Ledger of deliveries on disk, so that neither restarts nor replays deliver an action again."""

from datetime import timedelta
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from pipeline.adapters.rocks import open_rows

_RETENTION: Final = timedelta(days=14)
"""Twice the default retention of the action topics."""


class LedgerEntry(Struct, frozen=True, array_like=True):
    """State of an action's delivery.

    `report`: the outcome as JSON for the gateway, empty while it is unknown; `accepted`: whether
    the gateway has accepted it; `token`: the action's token, for later outcomes such as a bounce.
    """

    report: bytes = b""
    accepted: bool = False
    token: str = ""


class Ledger:
    """Ledger of one process, which survives a kill at any point."""

    def __init__(self, folder: Path) -> None:
        self._rows = open_rows(folder, int(_RETENTION.total_seconds()))
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(LedgerEntry)

    def get(self, action_id: str) -> LedgerEntry | None:
        row = self._rows.get(action_id.encode())
        return None if row is None else self._decoder.decode(row)

    def put(self, action_id: str, entry: LedgerEntry) -> None:
        self._rows[action_id.encode()] = self._encoder.encode(entry)

    def remove(self, action_id: str) -> None:
        del self._rows[action_id.encode()]

    def token_of(self, action_id: str) -> str | None:
        """Return the token of an action that was, or may have been, delivered."""
        entry = self.get(action_id)
        return entry.token or None if entry else None

    def close(self) -> None:
        self._rows.close()
