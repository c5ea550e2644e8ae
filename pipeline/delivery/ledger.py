"""What became of each action, on disk, so that no restart and no replay delivers it again."""

from datetime import timedelta
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct
from rocksdict import AccessType, BlockBasedOptions, Cache, Options, Rdict

_KEPT: Final = timedelta(days=14)
"""Twice as long as the action topics keep their records by default."""

_CACHE_BYTES: Final = 16 << 20
_BUFFER_BYTES: Final = 8 << 20


class Entry(Struct, frozen=True, array_like=True):
    """`report` is the outcome as the gateway takes it; `accepted`, whether the gateway has."""

    report: bytes
    accepted: bool


class Ledger:
    """One process at a time; survives a kill at any point."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._rows = Rdict(
            str(folder),
            _options(),
            access_type=AccessType.with_ttl(int(_KEPT.total_seconds())),
        )
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Entry)

    def get(self, action_id: str) -> Entry | None:
        row = self._rows.get(action_id.encode())
        return None if row is None else self._decoder.decode(row)

    def put(self, action_id: str, entry: Entry) -> None:
        self._rows[action_id.encode()] = self._encoder.encode(entry)

    def close(self) -> None:
        self._rows.close()


def _options() -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_write_buffer_size(_BUFFER_BYTES)
    table = BlockBasedOptions()
    table.set_block_cache(Cache(_CACHE_BYTES))
    table.set_bloom_filter(10, False)
    options.set_block_based_table_factory(table)
    return options
