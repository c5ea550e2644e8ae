"""Service that fires due timers: each becomes a timer record on the stage's own input."""

from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from agents.headers import TRACEPARENT, onward_trace
from agents.idempotence import Row, has_uncommitted
from agents.metrics import StageMetrics
from agents.outputs import OutputEncoder
from agents.ports import Ports
from agents.timers import Due, Timers
from pipeline.flow import Stage
from pipeline.model.control import Control
from pipeline.model.outcome import Emit, Wake
from pipeline.model.records import timer_record

ROW: Final = b"r"
"""Prefix of the keys of state rows."""
_LONG_BACKLOG: Final = 50
"""Backlog of a partition above which timers fire at the minimum rate."""
_MIN_TIMERS: Final = 2
"""Minimum timers fired per look, so that a backlog cannot starve them."""


class _Now(Struct, frozen=True):
    """Wall clock (epoch ms), and the configuration in force."""

    at_ms: int
    digest: str


class TimerService:
    """Timers of one stage. `load_row(partition, key)` returns a key's row."""

    def __init__(
        self,
        stage: Stage,
        ports: Ports,
        encoder: OutputEncoder,
        metrics: StageMetrics,
        load_row: Callable[[int, bytes], Row[Any] | None],
    ) -> None:
        self.timers = Timers(ports.table)
        self._topic = stage.inputs[0]
        self._ports = ports
        self._encoder = encoder
        self._metrics = metrics
        self._load_row = load_row

    def may_be_due(self, now_ms: int) -> bool:
        """Return False if no timer can be due by the wall clock (epoch ms)."""
        return any(
            self.timers.may_be_due(partition, now_ms) for partition in self._ports.partitions
        )

    def fire_due(self, now_ms: int, digest: str) -> None:
        """Fire timers that are due by the wall clock, fewer where the backlog is long.

        `digest`: configuration that the timer records are stamped with.
        """
        for partition in self._ports.partitions:
            backlog = self._ports.backlog(partition)
            if backlog == 0:
                self.timers.expire_lost(partition, now_ms)
            if backlog is not None:
                limit = max(_LONG_BACKLOG - backlog, _MIN_TIMERS)
                self._fire_in_partition(partition, _Now(now_ms, digest), limit)

    def overdue_in_log(self, partition: int, clock: Control) -> list[Emit]:
        """Return the records of overdue timers, which precede the log's clock record."""
        due = self.timers.due_in_log(partition, clock.at)
        self._metrics.timers.inc(len(due))
        return [
            timer_record(self._topic, timer.key.decode(), timer.at, clock.at, clock.config)
            for timer in due
        ]

    def _fire_in_partition(self, partition: int, now: _Now, limit: int) -> None:
        for due in self.timers.due(partition, now.at_ms):
            row = self._load_row(partition, due.key)
            if row is None or row.state is None:
                self._expire_empty_row(partition, due, row)
            elif limit and self.timers.mark_in_flight(partition, due, now.at_ms):
                self._send(due, now, partition)
                limit -= 1
            else:
                return

    def _expire_empty_row(self, partition: int, due: Due, row: Row[Any] | None) -> None:
        """Delete a row without state unless an uncommitted input may be redelivered.

        Timers that a kill left behind, and that the row no longer has, are deleted too.
        """
        if row is not None and row.wake == Wake(due.at):
            if has_uncommitted(row, lambda topic: self._ports.committed(topic, partition)):
                return
            self._ports.table.delete_in(partition, ROW + due.key)
        self.timers.clear(partition, due.key, due.at)

    def _send(self, due: Due, now: _Now, partition: int) -> None:
        emit = timer_record(self._topic, due.key.decode(), due.at, now.at_ms, now.digest)
        output = self._encoder.encode(emit)
        trace = [(TRACEPARENT, onward_trace(()))]
        self._ports.send(output.topic, output.key, output.value, trace, partition)
        self._metrics.timers.inc()
