"""Restoration of stores to the ends of their changelogs, and claims to these changelogs.

A changelog is claimed by a record at its end. If other workers have written between the last record
read and the claim, reading continues and the changelog is claimed again: records that an owner has
not read follow its first record, and are void.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from faust.types import TP

from agents.store.changelog import ChangelogReader, OffsetRange
from agents.store.partition import PartitionStore, RowChange
from agents.store.replay import Replay
from agents.transport.fencing import TAKE_OVER

_log = logging.getLogger(__name__)

T = TypeVar("T")


class ChangelogWriter(Protocol):
    """Writer of changelog records (the producer)."""

    async def write_changelog(self, changelog: TP, token: int, rows: Sequence[RowChange]) -> int:
        """Write `rows` with the fencing token `token`; return the offset after the rows."""
        ...


class CatchUp:
    """Restoration of one assignment's changelog partitions; used once, then closed."""

    def __init__(
        self,
        reader: ChangelogReader,
        stores: Mapping[TP, PartitionStore],
        keep_going: Callable[[], bool],
    ) -> None:
        """Restore `stores`, by the changelog's partition, until `keep_going` returns False.

        It returns False once the partitions are no longer assigned.
        """
        self.records_total = 0
        self._reader = reader
        self._stores = stores
        self._keep_going = keep_going
        self._replays: dict[TP, Replay] = {}

    async def read(self) -> None:
        """Apply the records that the stores lack. Raises KafkaException, StoreDamagedError."""
        await self._read(await _run_in_thread(self._prepare_replays))

    async def take_over(self, writer: ChangelogWriter) -> Mapping[TP, Replay]:
        """Claim the changelogs; return the replays, which end where this owner writes next.

        Returns no replays once the partitions are no longer assigned.
        Raises KafkaException, StoreDamagedError, DeliveryError, SessionLostError.
        """
        pending_tps = list(self._replays)
        while pending_tps and self._keep_going():
            results = await asyncio.gather(*(self._take_over(writer, tp) for tp in pending_tps))
            pending_tps = [
                tp for tp, is_claimed in zip(pending_tps, results, strict=True) if not is_claimed
            ]
            await self._read({tp: self._replays[tp].end for tp in pending_tps})
        return {} if pending_tps else self._replays

    async def close(self) -> None:
        """Close the reader."""
        await _run_in_thread(self._reader.close)

    def _prepare_replays(self) -> dict[TP, int]:
        """Create the replays; return the start offset of each partition that is not up to date."""
        starts = {}
        for tp, store in self._stores.items():
            offsets = self._reader.request_range(tp, self._keep_going)
            start = _choose_start(store, tp, offsets)
            self._replays[tp] = Replay(store, offsets.end)
            if start < offsets.end:
                starts[tp] = start
                _log.info("restoring %s from %d to %d", tp, start, offsets.end)
        return starts

    async def _read(self, starts: Mapping[TP, int]) -> None:
        batches = self._reader.read(starts, self._keep_going)
        while batch := await _run_in_thread(lambda: next(batches, None)):
            tp, records = batch
            self.records_total += len(records)
            self._replays[tp].apply(records)

    async def _take_over(self, writer: ChangelogWriter, tp: TP) -> bool:
        """Claim one changelog; return False if it has unread records."""
        replay = self._replays[tp]
        token, end = replay.token + 1, replay.end
        claim_rows: list[RowChange] = [(TAKE_OVER, b"")]
        for rows in (claim_rows, replay.rows_to_write_again()):
            end += len(rows)
            if rows and await writer.write_changelog(tp, token, rows) != end:
                return False
        replay.record_takeover(token, end)
        return True


async def _run_in_thread(function: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(None, function)


def _choose_start(store: PartitionStore, tp: TP, offsets: OffsetRange) -> int:
    """Return the offset to restore from; empty a store that is ahead of its changelog."""
    if store.next_offset > offsets.end:
        _log.warning(
            "%s ends at offset %d but the store was at %d (was the topic re-created?): rebuilding",
            tp, offsets.end, store.next_offset,
        )  # fmt: skip
        store.reset()
    return max(store.next_offset, offsets.first)
