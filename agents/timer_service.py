"""Service that fires due timers: each becomes a timer record on the stage's own input."""

from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from agents.headers import TRACEPARENT, onward_trace
from agents.idempotence import Row, has_uncommitted_inputs
from agents.metrics import StageMetrics
from agents.outputs import OutputEncoder
from agents.ports import Ports
from agents.timers import DueTimer, Timers
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


class _FiringMoment(Struct, frozen=True):
    """Moment by the wall clock (epoch ms), and digest of the configuration in force."""

    now_ms: int
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

    def may_have_due_timers(self, now_ms: int) -> bool:
        """Return whether a timer may be due by the wall clock (epoch ms)."""
        return any(
            self.timers.may_have_due_timer(partition, now_ms)
            for partition in self._ports.partitions
        )

    def fire_due_timers(self, now_ms: int, digest: str) -> None:
        """Fire timers that are due by the wall clock, fewer where the backlog is long.

        `digest`: configuration that the timer records are stamped with.
        """
        for partition in self._ports.partitions:
            backlog = self._ports.backlog(partition)
            if backlog == 0:
                self.timers.expire_lost_timers(partition, now_ms)
            if backlog is not None:
                limit = max(_LONG_BACKLOG - backlog, _MIN_TIMERS)
                self._fire_in_partition(partition, _FiringMoment(now_ms, digest), limit)

    def take_overdue_records(self, partition: int, clock: Control) -> list[Emit]:
        """Return the records of timers overdue in a log, to be written before its clock record."""
        timers = self.timers.find_due_log_timers(partition, clock.at)
        self._metrics.timers.inc(len(timers))
        return [
            timer_record(self._topic, timer.key.decode(), timer.due_at, clock.at, clock.config)
            for timer in timers
        ]

    def _fire_in_partition(self, partition: int, moment: _FiringMoment, limit: int) -> None:
        for timer in self.timers.find_due_timers(partition, moment.now_ms):
            row = self._load_row(partition, timer.key)
            if row is None or row.state is None:
                self._expire_empty_row(partition, timer, row)
            elif limit and self.timers.mark_in_flight(partition, timer, moment.now_ms):
                self._send(timer, moment, partition)
                limit -= 1
            else:
                return

    def _expire_empty_row(self, partition: int, timer: DueTimer, row: Row[Any] | None) -> None:
        """Delete a row without state unless an uncommitted input may be redelivered.

        Timers that a kill left behind, and that the row no longer has, are deleted too.
        """
        if row is not None and row.wake == Wake(timer.due_at):
            if has_uncommitted_inputs(
                row, lambda topic: self._ports.committed_offset(topic, partition)
            ):
                return
            self._ports.table.delete_in(partition, ROW + timer.key)
        self.timers.clear(partition, timer.key, timer.due_at)

    def _send(self, timer: DueTimer, moment: _FiringMoment, partition: int) -> None:
        emit = timer_record(
            self._topic, timer.key.decode(), timer.due_at, moment.now_ms, moment.digest
        )
        output = self._encoder.encode(emit)
        trace = [(TRACEPARENT, onward_trace(()))]
        self._ports.send(output.topic, output.key, output.value, trace, partition)
        self._metrics.timers.inc()
