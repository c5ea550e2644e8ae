"""Timers of rows, stored in separate rows sorted by time, so that due ones are found without a
scan.

A timer that is earlier than the one that its row now needs stays armed: when it fires, the row arms
the next one. So further interactions of a customer cause no writes here.
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
_TIME: Final = Layout(">Q")
_START: Final = len(_WALL)
_CHUNK: Final = 500
MAX_IN_FLIGHT: Final = 20
"""Maximum number of a partition's timers in flight: new inputs wait behind these."""
LOST_MS: Final = 60_000
"""Time in flight after which a timer record counts as lost, if the partition has no backlog."""


class DueTimer(Struct, frozen=True):
    """Timer of the row `key` that fell due at `due_at` (epoch ms)."""

    key: bytes
    due_at: int


class TimerChange(Struct, frozen=True):
    """Armed timer of a row before and after an input."""

    former_timer: Wake | None
    new_timer: Wake | None


def due_time_of(record: object) -> int | None:
    """Return the due time (epoch ms) of a timer record; None for other records."""
    control = control_of(record)
    return None if control is None or control.kind != "timer" else control.due_at


def next_timer(
    former_timer: Wake | None, needed_timer: Wake | None, fired_due_at: int | None
) -> Wake | None:
    """Return the timer of a row that had `former_timer` and now needs `needed_timer`.

    `fired_due_at`: due time of the timer that has just fired.
    """
    if former_timer is None or former_timer.at == fired_due_at:
        return needed_timer
    if needed_timer is None or (
        former_timer.log is needed_timer.log and former_timer.at <= needed_timer.at
    ):
        return former_timer
    return needed_timer


class Timers:
    """Timers of one table's partitions. A timer is in flight from firing until it is cleared."""

    def __init__(self, table: Rows) -> None:
        self._table = table
        self._in_flight: dict[int, dict[bytes, int]] = {}
        self._earliest_due_at: dict[int, float] = {}

    def arm(self, partition: int, key: bytes, change: TimerChange) -> None:
        """Arm the new timer; to be called before the row `key` is written."""
        wake = change.new_timer
        if wake is None or wake == change.former_timer:
            return
        self._table.put_in(partition, _row(key, wake), b"")
        if not wake.log:
            self._earliest_due_at[partition] = min(
                self._earliest_due_at.get(partition, -inf), wake.at
            )

    def cancel_previous(self, partition: int, key: bytes, change: TimerChange) -> None:
        """Cancel the former timer if it changed; to be called after the row was written."""
        if change.former_timer is not None and change.new_timer != change.former_timer:
            self._table.delete_in(partition, _row(key, change.former_timer))

    def clear(self, partition: int, key: bytes, due_at: int) -> None:
        """Remove the fired timer that was due at `due_at`, by either clock."""
        for row in (_row(key, Wake(due_at)), _row(key, Wake(due_at, log=True))):
            if self._table.get_in(partition, row) is not None:
                self._table.delete_in(partition, row)

    def may_have_due_timer(self, partition: int, now_ms: int) -> bool:
        """Return whether a timer may be due by the wall clock, in flight or not."""
        return now_ms >= self._earliest_due_at.get(partition, -inf)

    def find_due_timers(self, partition: int, now_ms: int) -> Iterator[DueTimer]:
        """Yield timers that are due by the wall clock and not in flight, the earliest first.

        Yields at most a chunk; timers may be fired and cleared during the iteration.
        """
        if not self.may_have_due_timer(partition, now_ms):
            return
        rows = self._rows(partition, _WALL)
        first_row = next(rows, None)
        self._earliest_due_at[partition] = inf if first_row is None else _time(first_row)
        if first_row is None:
            return
        rows = takewhile(lambda row: _time(row) <= now_ms, chain((first_row,), rows))
        in_flight = self._drop_cleared_timers(partition)
        candidates = (row for row in rows if row not in in_flight)
        yield from map(_due_timer, islice(candidates, _CHUNK))

    def mark_in_flight(self, partition: int, timer: DueTimer, now_ms: int) -> bool:
        """Mark a due timer as in flight; return False if too many already are."""
        in_flight = self._in_flight.setdefault(partition, {})
        if len(in_flight) >= MAX_IN_FLIGHT:
            return False
        in_flight[_row(timer.key, Wake(timer.due_at))] = now_ms
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
        self._earliest_due_at.clear()

    def _drop_cleared_timers(self, partition: int) -> Collection[bytes]:
        """Drop timers that were cleared from those in flight; return the remaining ones."""
        in_flight = self._in_flight.setdefault(partition, {})
        get = self._table.get_in
        for row in [row for row in in_flight if get(partition, row) is None]:
            del in_flight[row]
        return in_flight

    def _rows(self, partition: int, prefix: bytes) -> Iterator[bytes]:
        return (row for row, _ in self._table.scan_in(partition, prefix))


def _row(key: bytes, wake: Wake) -> bytes:
    return (_LOG if wake.log else _WALL) + _TIME.pack(wake.at) + key


def _time(row: bytes) -> int:
    return int(_TIME.unpack_from(row, _START)[0])


def _due_timer(row: bytes) -> DueTimer:
    return DueTimer(row[_START + _TIME.size :], _time(row))
