"""When rows want to be woken, in rows of their own ordered by time, so that nobody scans states.

A timer that stands earlier than its row now wants is left there: when it falls due, the row says
when it really wants to be woken. So a customer who keeps coming costs no writes here.
"""

from collections.abc import Collection, Iterator
from itertools import chain, islice, takewhile
from math import inf
from struct import Struct as Layout
from typing import Final

from msgspec import Struct

from agents.ports import Rows
from pipeline.flow import control_of
from pipeline.model.outcome import Wake

_WALL: Final = b"tw"
_LOG: Final = b"tl"
_AT: Final = Layout(">Q")
_START: Final = len(_WALL)
_CHUNK: Final = 500
WINDOW: Final = 20
"""So many of a partition are under way at most: what comes meanwhile waits behind them."""
LOST_MS: Final = 60_000
"""A record that is under way for so long where nothing waits does not come any more."""


class Due(Struct, frozen=True):
    """A row's timer that fell due at `at` (ms)."""

    key: bytes
    at: int


class TimerChange(Struct, frozen=True):
    """The timers that stand for a row before and after an input."""

    before: Wake | None
    after: Wake | None


def fired_at(record: object) -> int | None:
    """When the timer stood that this record is the ringing of."""
    control = control_of(record)
    return None if control is None or control.kind != "timer" else control.due_at


def standing(before: Wake | None, wanted: Wake | None, fired_at: int | None) -> Wake | None:
    """The timer of a row that had `before` and now wants `wanted`; `fired_at`: which one rang."""
    if before is None or before.at == fired_at:
        return wanted
    if wanted is None or (before.log is wanted.log and before.at <= wanted.at):
        return before
    return wanted


class Timers:
    """The timers of one table's partitions; one that is told is under way until it is removed."""

    def __init__(self, table: Rows) -> None:
        self._table = table
        self._under_way: dict[int, dict[bytes, int]] = {}
        self._earliest: dict[int, float] = {}

    def begin(self, partition: int, key: bytes, change: TimerChange) -> None:
        """Before the row `key` is written: set what it will stand for."""
        wake = change.after
        if wake is None or wake == change.before:
            return
        self._table.put_in(partition, _row(key, wake), b"")
        if not wake.log:
            self._earliest[partition] = min(self._earliest.get(partition, -inf), wake.at)

    def end(self, partition: int, key: bytes, change: TimerChange) -> None:
        """After it was written: remove what it stood for."""
        if change.before is not None and change.after != change.before:
            self._table.delete_in(partition, _row(key, change.before))

    def fired(self, partition: int, key: bytes, at: int) -> None:
        """The timer for `at`, by whichever clock, has done its work."""
        for row in (_row(key, Wake(at)), _row(key, Wake(at, log=True))):
            if self._table.get_in(partition, row) is not None:
                self._table.delete_in(partition, row)

    def due(self, partition: int, now_ms: int) -> Iterator[Due]:
        """What is due by the wall clock and not under way, the earliest first, a chunk at a time;
        timers may be told and removed meanwhile."""
        if now_ms < self._earliest.get(partition, -inf):
            return
        rows = self._rows(partition, _WALL)
        first = next(rows, None)
        self._earliest[partition] = inf if first is None else _time(first)
        if first is None:
            return
        rows = takewhile(lambda row: _time(row) <= now_ms, chain((first,), rows))
        under_way = self._still_under_way(partition)
        untold = (row for row in rows if row not in under_way)
        yield from map(_due, islice(untold, _CHUNK))

    def tell(self, partition: int, due: Due, now_ms: int) -> bool:
        """Whether the record for what is `due` may be written now; it is under way then."""
        under_way = self._under_way.setdefault(partition, {})
        if len(under_way) >= WINDOW:
            return False
        under_way[_row(due.key, Wake(due.at))] = now_ms
        return True

    def give_up(self, partition: int, now_ms: int) -> None:
        """Nothing of the partition waits: what was told long ago is lost, and to be told again."""
        under_way = self._under_way.get(partition, {})
        for row in [row for row, told_at in under_way.items() if now_ms - told_at > LOST_MS]:
            del under_way[row]

    def due_in_log(self, partition: int, now_ms: int) -> list[Due]:
        """What is due by a log's clock, a chunk at a time."""
        rows = takewhile(lambda row: _time(row) <= now_ms, self._rows(partition, _LOG))
        return [_due(row) for row in islice(rows, _CHUNK)]

    def forget(self) -> None:
        """The partitions are owned anew: what is under way, others may have told or done."""
        self._under_way.clear()
        self._earliest.clear()

    def _still_under_way(self, partition: int) -> Collection[bytes]:
        under_way = self._under_way.setdefault(partition, {})
        get = self._table.get_in
        for row in [row for row in under_way if get(partition, row) is None]:
            del under_way[row]
        return under_way

    def _rows(self, partition: int, prefix: bytes) -> Iterator[bytes]:
        return (row for row, _ in self._table.scan_in(partition, prefix))


def _row(key: bytes, wake: Wake) -> bytes:
    return (_LOG if wake.log else _WALL) + _AT.pack(wake.at) + key


def _time(row: bytes) -> int:
    return int(_AT.unpack_from(row, _START)[0])


def _due(row: bytes) -> Due:
    return Due(row[_START + _AT.size :], _time(row))
