"""Ids of processed interactions, in rows of their own, bucketed by day of receipt.

They are forgotten a day after the grace period, a few with each input, oldest first.
"""

from itertools import islice, takewhile
from struct import Struct
from typing import Final

from agents.ports import Rows
from pipeline.model.time import DAY_MS, GRACE_MS

_PREFIX: Final = b"i"
_DAY: Final = Struct(">I")
_REMEMBERED: Final = GRACE_MS // DAY_MS + 1
_CHUNK: Final = 512


class EventIds:
    """The ids of one table's partitions; days are counted from the epoch."""

    def __init__(self, table: Rows) -> None:
        self._table = table
        self._expired: dict[int, list[bytes]] = {}
        self._swept: dict[int, int] = {}

    def known(self, partition: int, event_id: str, at_ms: int) -> bool:
        """Whether the id was added for a time within the grace period before `at_ms`."""
        today = at_ms // DAY_MS
        get = self._table.get_in
        return any(
            get(partition, _key(day, event_id)) is not None
            for day in range(today, max(today - _REMEMBERED, -1), -1)
        )

    def add(self, partition: int, event_id: str, at_ms: int) -> None:
        """Remember the id, and forget some old ones."""
        today = at_ms // DAY_MS
        self._table.put_in(partition, _key(today, event_id), b"1")
        self._sweep(partition, today)

    def _sweep(self, partition: int, today: int) -> None:
        expired = self._expired.get(partition)
        if expired:
            for key in expired[-2:]:
                self._table.delete_in(partition, key)
            del expired[-2:]
        elif self._swept.get(partition, -1) < today:
            oldest = _PREFIX + _DAY.pack(max(today - _REMEMBERED, 0))
            rows = takewhile(lambda row: row[0] < oldest, self._table.scan_in(partition, _PREFIX))
            found = [key for key, _ in islice(rows, _CHUNK)]
            self._expired[partition] = found[::-1]
            if not found:
                self._swept[partition] = today


def _key(day: int, event_id: str) -> bytes:
    return _PREFIX + _DAY.pack(day) + event_id.encode()
