"""Timers of rows, stored in separate rows sorted by time, so that due ones are found without a
scan.

A timer that is earlier than its row now needs stays armed: when it fires, the row arms the next
one. So further interactions of a customer cause no writes here.
"""

from collections.abc import Collection, Iterator
from itertools import chain, islice, takewhile
from math import inf
from struct import Struct as Layout
from typing import Final

from msgspec import Struct

from agents.ports import Rows
from pipeline.model.outcome import Wake
from pipeline.model.records import control_of

_WALL: Final = b"tw"
_LOG: Final = b"tl"
_AT: Final = Layout(">Q")
_START: Final = len(_WALL)
_CHUNK: Final = 500
WINDOW: Final = 20
"""Maximum of a partition's timers in flight, behind which new inputs wait."""
LOST_MS: Final = 60_000
"""Time in flight after which a timer record counts as lost, if the partition has no backlog."""


class DueTimer(Struct, frozen=True):
    """Timer of the row `key` that fell due at `at` (epoch ms)."""

    key: bytes
    at: int


class TimerChange(Struct, frozen=True):
    """Armed timer of a row before and after an input."""

    before: Wake | None
    after: Wake | None


def fired_at(record: object) -> int | None:
    """Return the due time (epoch ms) of a timer record; None for other records."""
    control = control_of(record)
    return None if control is None or control.kind != "timer" else control.due_at


def next_timer(before: Wake | None, next_wake: Wake | None, fired_at: int | None) -> Wake | None:
    """Return the timer of a row that had `before` and now needs `next_wake`.

    `fired_at`: due time of the timer that has just fired.
    """
    if before is None or before.at == fired_at:
        return next_wake
    if next_wake is None or (before.log is next_wake.log and before.at <= next_wake.at):
        return before
    return next_wake


class Timers:
    """Timers of one table's partitions. A timer is in flight from firing until it is cleared."""

    def __init__(self, table: Rows) -> None:
        self._table = table
        self._in_flight: dict[int, dict[bytes, int]] = {}
        self._earliest: dict[int, float] = {}

    def arm(self, partition: int, key: bytes, change: TimerChange) -> None:
        """Arm the new timer; to be called before the row `key` is written."""
        wake = change.after
        if wake is None or wake == change.before:
            return
        self._table.put_in(partition, _row(key, wake), b"")
        if not wake.log:
            self._earliest[partition] = min(self._earliest.get(partition, -inf), wake.at)

    def cancel_previous(self, partition: int, key: bytes, change: TimerChange) -> None:
        """Cancel the former timer if it changed; to be called after the row was written."""
        if change.before is not None and change.after != change.before:
            self._table.delete_in(partition, _row(key, change.before))

    def clear(self, partition: int, key: bytes, at: int) -> None:
        """Remove the fired timer for `at`, by either clock."""
        for row in (_row(key, Wake(at)), _row(key, Wake(at, log=True))):
            if self._table.get_in(partition, row) is not None:
                self._table.delete_in(partition, row)

    def may_have_due_timer(self, partition: int, now_ms: int) -> bool:
        """Return whether a timer may be due by the wall clock, in flight or not."""
        return now_ms >= self._earliest.get(partition, -inf)

    def find_due_timers(self, partition: int, now_ms: int) -> Iterator[DueTimer]:
        """Yield timers that are due by the wall clock and not in flight, the earliest first.

        Yields at most a chunk; timers may be fired and cleared during the iteration.
        """
        if not self.may_have_due_timer(partition, now_ms):
            return
        rows = self._rows(partition, _WALL)
        first = next(rows, None)
        self._earliest[partition] = inf if first is None else _time(first)
        if first is None:
            return
        rows = takewhile(lambda row: _time(row) <= now_ms, chain((first,), rows))
        in_flight = self._still_in_flight(partition)
        candidates = (row for row in rows if row not in in_flight)
        yield from map(_due_timer, islice(candidates, _CHUNK))

    def mark_in_flight(self, partition: int, timer: DueTimer, now_ms: int) -> bool:
        """Mark a due timer as in flight; return False if too many already are."""
        in_flight = self._in_flight.setdefault(partition, {})
        if len(in_flight) >= WINDOW:
            return False
        in_flight[_row(timer.key, Wake(timer.at))] = now_ms
        return True

    def expire_lost_timers(self, partition: int, now_ms: int) -> None:
        """Expire timers whose records are lost, so that they fire again; the partition must have no
        backlog."""
        in_flight = self._in_flight.get(partition, {})
        for row in [row for row, fired_ms in in_flight.items() if now_ms - fired_ms > LOST_MS]:
            del in_flight[row]

    def find_due_log_timers(self, partition: int, now_ms: int) -> list[DueTimer]:
        """Return at most a chunk of the timers due by a log's clock."""
        rows = takewhile(lambda row: _time(row) <= now_ms, self._rows(partition, _LOG))
        return [_due_timer(row) for row in islice(rows, _CHUNK)]

    def clear_cache(self) -> None:
        """Drop cached times and timers in flight, which another worker may have cleared."""
        self._in_flight.clear()
        self._earliest.clear()

    def _still_in_flight(self, partition: int) -> Collection[bytes]:
        in_flight = self._in_flight.setdefault(partition, {})
        get = self._table.get_in
        for row in [row for row in in_flight if get(partition, row) is None]:
            del in_flight[row]
        return in_flight

    def _rows(self, partition: int, prefix: bytes) -> Iterator[bytes]:
        return (row for row, _ in self._table.scan_in(partition, prefix))


def _row(key: bytes, wake: Wake) -> bytes:
    return (_LOG if wake.log else _WALL) + _AT.pack(wake.at) + key


def _time(row: bytes) -> int:
    return int(_AT.unpack_from(row, _START)[0])


def _due_timer(row: bytes) -> DueTimer:
    return DueTimer(row[_START + _AT.size :], _time(row))
