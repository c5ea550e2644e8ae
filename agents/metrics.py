"""Prometheus metrics of the stages."""

from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from prometheus_client import REGISTRY, Counter
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from agents.idempotence import Output
from pipeline.config.zones import zone
from pipeline.model.interaction import Interaction

BUCKET_BOUNDS_S: Final = (
    0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10,
)  # fmt: skip

_DUPLICATES = Counter(
    "kairos_stage_duplicates_total", "Inputs dropped as duplicates", ["stage", "known_by"]
)
_REPEATS = Counter(
    "kairos_stage_repeats_total", "Inputs whose outputs were sent again after a kill", ["stage"]
)
_TIMERS = Counter("kairos_stage_timers_total", "Timers fired", ["stage"])
_REDIRECTS = Counter(
    "kairos_stage_redirected_total", "Inputs published again to the right partition", ["stage"]
)
_DROPS = Counter("kairos_stage_dropped_total", "Inputs without any effect", ["stage", "reason"])
_UNKNOWN_ZONES = Counter(
    "kairos_stage_unknown_timezones_total",
    "Interactions with an unknown context.timezone, for which the default zone is used",
    ["stage"],
)
_DEAD_LETTERS = Counter(
    "kairos_stage_dead_letters_total", "Inputs that could not be processed", ["stage", "reason"]
)


class _DurationHistogram:
    """Histogram of durations in seconds."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BUCKET_BOUNDS_S) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(BUCKET_BOUNDS_S, seconds)] += 1
        self._sum += seconds

    def add_to(self, family: HistogramMetricFamily, stage: str) -> None:
        cumulative_counts = accumulate(self._counts)
        bounds = (*map(floatToGoString, BUCKET_BOUNDS_S), "+Inf")
        family.add_metric([stage], list(zip(bounds, cumulative_counts, strict=True)), self._sum)


class _StageCounts:
    """Counts per input of a stage, collected on request.

    prometheus_client's own metrics would take a lock ten times per input.
    """

    def __init__(self) -> None:
        self.queue_times = _DurationHistogram()
        self.processing_times = _DurationHistogram()
        self.records: Tally[str] = Tally()


class StageCollector(Collector):
    """Collector of the stages' counts per input."""

    def __init__(self) -> None:
        self._counts_by_stage: dict[str, _StageCounts] = {}

    def stage_counts(self, stage: str) -> _StageCounts:
        """Return the counts of `stage` in this process."""
        return self._counts_by_stage.setdefault(stage, _StageCounts())

    def collect(self) -> Iterator[HistogramMetricFamily | CounterMetricFamily]:
        """Yield the families; called in the server's thread."""
        queue_times = HistogramMetricFamily(
            "kairos_stage_queued_seconds",
            "Time from a record's Kafka timestamp to its processing",
            labels=["stage"],
        )
        processing_times = HistogramMetricFamily(
            "kairos_stage_spent_seconds",
            "Time that the stage took for one record",
            labels=["stage"],
        )
        records = CounterMetricFamily(
            "kairos_stage_sent", "Records written", labels=["stage", "topic"]
        )
        for stage, counts in list(self._counts_by_stage.items()):
            counts.queue_times.add_to(queue_times, stage)
            counts.processing_times.add_to(processing_times, stage)
            for topic, count in list(counts.records.items()):
                records.add_metric([stage, topic], count)
        yield from (queue_times, processing_times, records)


STAGE_COLLECTOR: Final = StageCollector()
REGISTRY.register(STAGE_COLLECTOR)


class StageMetrics:
    """Metrics of one stage."""

    def __init__(self, stage: str) -> None:
        self._stage_counts = STAGE_COLLECTOR.stage_counts(stage)
        self.repeats = _REPEATS.labels(stage)
        self.timers = _TIMERS.labels(stage)
        self.redirects = _REDIRECTS.labels(stage)
        self._unknown_zones = _UNKNOWN_ZONES.labels(stage)
        self.duplicates = _DUPLICATES
        self.drops = _DROPS
        self.dead_letters = _DEAD_LETTERS

    def observe(self, queued_s: float, spent_s: float) -> None:
        """Record the queue and processing times of an input."""
        self._stage_counts.queue_times.observe(queued_s)
        self._stage_counts.processing_times.observe(spent_s)

    def count_unknown_zone(self, interaction: Interaction) -> None:
        """Count the interaction if its `context.timezone` is unknown."""
        name = interaction.context.timezone
        if name and zone(name) is None:
            self._unknown_zones.inc()

    def count_outputs(self, outputs: tuple[Output, ...]) -> None:
        """Count written records."""
        for output in outputs:
            self._stage_counts.records[output.topic] += 1
