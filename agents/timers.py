"""When rows want to be woken, in rows of their own ordered by time, so that nobody scans states.

A timer that stands earlier than its row now wants is left there: when it falls due, the row says
when it really wants to be woken. So a customer who keeps coming costs no writes here.
"""

import time
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
_AGAIN_S: Final = 5.0


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
    """The timers of one table's partitions."""

    def __init__(self, table: Rows) -> None:
        self._table = table
        self._told: dict[tuple[int, bytes], float] = {}
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
            self._remove(partition, _row(key, change.before))

    def fired(self, partition: int, key: bytes, at: int, kept: Wake | None) -> None:
        """The timer for `at`, by whichever clock, has done its work; `kept` stands."""
        for wake in (Wake(at), Wake(at, log=True)):
            row = _row(key, wake)
            if wake != kept and self._table.get_in(partition, row) is not None:
                self._remove(partition, row)

    def due(self, partition: int, now_ms: int) -> list[Due]:
        """What is due by the wall clock, a chunk at a time; each again after seconds only."""
        if now_ms < self._earliest.get(partition, -inf):
            return []
        rows = self._rows(partition, _WALL)
        first = next(rows, None)
        self._earliest[partition] = inf if first is None else _time(first)
        if first is None:
            return []
        rows = takewhile(lambda row: _time(row) <= now_ms, chain((first,), rows))
        now_s = time.monotonic()
        untold = (row for row in rows if now_s - self._told.get((partition, row), -inf) > _AGAIN_S)
        found = list(islice(untold, _CHUNK))
        self._told.update(dict.fromkeys(((partition, row) for row in found), now_s))
        return [_due(row) for row in found]

    def due_in_log(self, partition: int, now_ms: int) -> list[Due]:
        """What is due by a log's clock, a chunk at a time."""
        rows = takewhile(lambda row: _time(row) <= now_ms, self._rows(partition, _LOG))
        return [_due(row) for row in islice(rows, _CHUNK)]

    def keep(self, partitions: Collection[int]) -> None:
        """Only these are this worker's now."""
        gone = self._earliest.keys() - partitions
        if gone:
            self._earliest = {p: at for p, at in self._earliest.items() if p not in gone}
            self._told = {told: at for told, at in self._told.items() if told[0] not in gone}

    def _remove(self, partition: int, row: bytes) -> None:
        self._table.delete_in(partition, row)
        self._told.pop((partition, row), None)

    def _rows(self, partition: int, prefix: bytes) -> Iterator[bytes]:
        return (row for row, _ in self._table.scan_in(partition, prefix))


def _row(key: bytes, wake: Wake) -> bytes:
    return (_LOG if wake.log else _WALL) + _AT.pack(wake.at) + key


def _time(row: bytes) -> int:
    return int(_AT.unpack_from(row, _START)[0])


def _due(row: bytes) -> Due:
    return Due(row[_START + _AT.size :], _time(row))
