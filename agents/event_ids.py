"""Ids of processed events, in rows of their own, bucketed by period.

A row's key is the event's (`event_key`), its value a digest of the event's content: a retry has the
same content, another event for which the sender reuses the id has not.

An id's time is that of its record in Kafka: it never changes, grows with the offset, and is not
under the sender's control. A period is as long as the grace period, so that two look-ups find an
id. Ids expire one to two periods later; a few are deleted with each input, oldest first.
"""

from itertools import islice, takewhile
from struct import Struct
from typing import Final

from agents.ports import Rows
from pipeline.model.time import GRACE_MS

_PREFIX: Final = b"i"
_PERIOD: Final = Struct(">I")
_CHUNK: Final = 512


class EventIds:
    """Processed events of one table's partitions; periods are counted from the epoch."""

    def __init__(self, table: Rows) -> None:
        self._table = table
        self._expired_keys: dict[int, list[bytes]] = {}
        self._swept_periods: dict[int, int] = {}

    def find(self, partition: int, event: str, at_ms: int) -> bytes | None:
        """Return the digest of an event added within the grace period before `at_ms`, inclusive.

        None: no such event was found. Ids up to twice as old may still be found.
        """
        period = at_ms // GRACE_MS
        get = self._table.get_in
        periods = (period, max(period - 1, 0))
        digests = (get(partition, _key(candidate, event)) for candidate in periods)
        return next((digest for digest in digests if digest is not None), None)

    def add(self, partition: int, event: str, at_ms: int, digest: bytes) -> None:
        """Store the event's id, and delete some expired ones."""
        period = at_ms // GRACE_MS
        self._table.put_in(partition, _key(period, event), digest)
        self._sweep(partition, period)

    def _sweep(self, partition: int, period: int) -> None:
        """Delete two expired ids; look for further ones once none are left."""
        expired_keys = self._expired_keys.get(partition)
        if expired_keys:
            for key in expired_keys[-2:]:
                self._table.delete_in(partition, key)
            del expired_keys[-2:]
        elif self._swept_periods.get(partition, -1) < period:
            end = _PREFIX + _PERIOD.pack(max(period - 1, 0))
            rows = takewhile(lambda row: row[0] < end, self._table.scan_in(partition, _PREFIX))
            keys = [key for key, _ in islice(rows, _CHUNK)]
            self._expired_keys[partition] = keys[::-1]
            if not keys:
                self._swept_periods[partition] = period


def _key(period: int, event: str) -> bytes:
    return _PREFIX + _PERIOD.pack(period) + event.encode()
