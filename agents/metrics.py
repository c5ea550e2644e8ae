"""What each stage counts, for Prometheus.

| metric | labels | meaning |
| --- | --- | --- |
| `kairos_stage_queued_seconds` | `stage` | time from a record's Kafka timestamp to its processing |
| `kairos_stage_spent_seconds` | `stage` | time that the stage took for one record |
| `kairos_stage_sent_total` | `stage`, `topic` | records written |
| `kairos_stage_duplicates_total` | `stage`, `known_by` | inputs dropped as copies |
| `kairos_stage_repeats_total` | `stage` | inputs whose records were sent again after a kill |
| `kairos_stage_timers_total` | `stage` | rows woken because time alone may have changed them |
| `kairos_stage_redirected_total` | `stage` | inputs published again where they belong |
| `kairos_stage_dropped_total` | `stage`, `reason` | inputs with nothing to do |
| `kairos_stage_dead_letters_total` | `stage`, `reason` | inputs that could not be processed |
"""

from typing import Final

from prometheus_client import Counter, Histogram

from agents.delivery import Output

_SECONDS: Final = (
    0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10,
)  # fmt: skip

_QUEUED = Histogram(
    "kairos_stage_queued_seconds", "Kafka timestamp to processing", ["stage"], buckets=_SECONDS
)
_SPENT = Histogram(
    "kairos_stage_spent_seconds", "Processing of one record", ["stage"], buckets=_SECONDS
)
_SENT = Counter("kairos_stage_sent_total", "Records written", ["stage", "topic"])
_DUPLICATES = Counter("kairos_stage_duplicates_total", "Copies dropped", ["stage", "known_by"])
_REPEATS = Counter("kairos_stage_repeats_total", "Inputs sent again after a kill", ["stage"])
_TIMERS = Counter("kairos_stage_timers_total", "Rows woken by time", ["stage"])
_REDIRECTED = Counter("kairos_stage_redirected_total", "Inputs put in their place", ["stage"])
_DROPPED = Counter("kairos_stage_dropped_total", "Inputs with nothing to do", ["stage", "reason"])
_DEAD = Counter("kairos_stage_dead_letters_total", "Inputs given up", ["stage", "reason"])


class StageMetrics:
    """One stage's metrics."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._queued = _QUEUED.labels(stage)
        self._spent = _SPENT.labels(stage)
        self.repeats = _REPEATS.labels(stage)
        self.timers = _TIMERS.labels(stage)
        self.redirected = _REDIRECTED.labels(stage)
        self.duplicates = _DUPLICATES
        self.dropped = _DROPPED
        self.dead_letters = _DEAD
        self._sent: dict[str, Counter] = {}

    def observe(self, queued_s: float, spent_s: float) -> None:
        """One input was processed."""
        self._queued.observe(queued_s)
        self._spent.observe(spent_s)

    def sent(self, outputs: tuple[Output, ...]) -> None:
        """These records were written."""
        for output in outputs:
            counter = self._sent.get(output.topic)
            if counter is None:
                counter = self._sent[output.topic] = _SENT.labels(self._stage, output.topic)
            counter.inc()
