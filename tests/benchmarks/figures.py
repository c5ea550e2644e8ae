"""Statistics of samples: percentiles, medians over repeats, ratios to the floor; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from statistics import median
from typing import TypeAlias

Headers: TypeAlias = Sequence[tuple[str, bytes]]

_TIME_TOLERANCE = 1.05
_SLACK_S = 0.5
_DELAY_S = 1.0


@dataclass(frozen=True, slots=True)
class RateSample:
    """Measurement at one rate.

    `latencies_ms` and `headers` are those of the records that arrived, in the same order; latencies
    count from the time at which a record was due to be sent. `seconds`: from the first sending to
    the last arrival; `cpu`: cores, by process.
    """

    record_count: int
    planned_seconds: float
    seconds: float
    latencies_ms: Sequence[float]
    headers: Sequence[Headers]
    cpu: Mapping[str, float]

    @property
    def is_sustained(self) -> bool:
        """Whether all outputs arrived, and the last of them in time."""
        is_complete = len(self.latencies_ms) == self.record_count
        return is_complete and self.seconds <= self.planned_seconds * _TIME_TOLERANCE + _SLACK_S


@dataclass(frozen=True, slots=True)
class DrainedBacklog:
    """Backlog of `record_count` records, of which `output_count` came out in `seconds`, from the
    first sending to the last arrival; `cpu`: cores, by process."""

    record_count: int
    output_count: int
    seconds: float
    cpu: Mapping[str, float]

    @property
    def outputs_per_s(self) -> float:
        return self.output_count / self.seconds

    @property
    def missing_count(self) -> int:
        """Number of records without an output in time."""
        return self.record_count - self.output_count


@dataclass(frozen=True, slots=True)
class Passage:
    """Record that came through: times (s, by one clock) at which it was due and at which its output
    arrived, and the partition of the output."""

    due_s: float
    arrival_s: float
    partition: int

    @property
    def duration_s(self) -> float:
        return self.arrival_s - self.due_s


@dataclass(frozen=True, slots=True)
class Passages:
    """Passages of the records that came through, out of `record_count`."""

    record_count: int
    arrivals: Sequence[Passage]

    def longest_wait_after(self, moment: float) -> float:
        """Return the time (s) from `moment` to the first output of a record due after it, in the
        partition that waits longest; inf if a partition has none."""
        waits_s = dict.fromkeys((passage.partition for passage in self.arrivals), inf)
        for passage in self.arrivals:
            if passage.due_s > moment:
                waits_s[passage.partition] = min(
                    waits_s[passage.partition], passage.arrival_s - moment
                )
        return max(waits_s.values(), default=inf)

    def delay_period_after(self, moment: float) -> float:
        """Return the time (s) from `moment` to the last output that took more than a second."""
        return max(
            (
                passage.arrival_s - moment
                for passage in self.arrivals
                if passage.duration_s > _DELAY_S
            ),
            default=0.0,
        )

    def latencies_ms(self, begin_s: float, end_s: float) -> list[float]:
        """Return the latencies of records due between the two moments (end exclusive), sorted."""
        return sorted(
            passage.duration_s * 1000
            for passage in self.arrivals
            if begin_s <= passage.due_s < end_s
        )

    @property
    def missing_count(self) -> int:
        """Number of records without an output."""
        return self.record_count - len(self.arrivals)


@dataclass(frozen=True, slots=True)
class RateLatency:
    """Medians over the repeats at one rate (events/s); times in ms.

    Only the repeats that `reached` the rate are in the medians; those that a lower rate overloaded
    already count as not sustaining this one. `p99s` are the repeats' own; `missing` counts over all
    of them.
    """

    system: str
    rate: int
    p50: float
    p95: float
    p99: float
    max: float
    p99s: tuple[float, ...]
    out_per_s: float
    missing: int
    repeats: int
    reached: int
    sustained: int
    cpu: Mapping[str, float]

    @property
    def behind_count(self) -> int:
        """Number of repeats that did not sustain the rate."""
        return self.repeats - self.sustained

    @property
    def cores(self) -> float:
        """Cores that the system itself used, without broker and load."""
        return own_cores(self.cpu)


@dataclass(frozen=True, slots=True)
class Throughput:
    """Medians over the repeats; `missing` counts over all of them."""

    system: str
    per_s: float
    each: tuple[float, ...]
    missing: int
    cpu: Mapping[str, float]

    @property
    def cores(self) -> float:
        """Cores that the system itself used, without broker and load."""
        return own_cores(self.cpu)


SHARED_PROCESSES = ("broker", "load")
"""Processes that run beside every system."""


def own_cores(cpu: Mapping[str, float]) -> float:
    """Return the cores that the system's own processes use."""
    return sum(cores for name, cores in cpu.items() if name not in SHARED_PROCESSES)


def percentile(ordered_values: Sequence[float], share: float) -> float:
    """Return the nearest rank: the smallest value that at least `share` of the values do not
    exceed."""
    if not ordered_values:
        return float("nan")
    rank = -(-len(ordered_values) * share // 1)
    return ordered_values[max(int(rank), 1) - 1]


def summarise(system: str, rate: int, samples: Sequence[RateSample], repeats: int) -> RateLatency:
    """Return the medians of the samples, with the number of `repeats` that reached the rate."""
    sorted_latencies = [sorted(sample.latencies_ms) for sample in samples]

    def median_percentile(share: float) -> float:
        return median(percentile(latencies, share) for latencies in sorted_latencies)

    return RateLatency(
        system=system,
        rate=rate,
        p50=median_percentile(0.50),
        p95=median_percentile(0.95),
        p99=median_percentile(0.99),
        max=median_percentile(1.0),
        p99s=tuple(percentile(latencies, 0.99) for latencies in sorted_latencies),
        out_per_s=median(len(sample.latencies_ms) / sample.seconds for sample in samples),
        missing=sum(sample.record_count - len(sample.latencies_ms) for sample in samples),
        repeats=repeats,
        reached=len(samples),
        sustained=sum(sample.is_sustained for sample in samples),
        cpu={name: median(sample.cpu[name] for sample in samples) for name in samples[0].cpu},
    )


def summarise_backlogs(system: str, runs: Sequence[DrainedBacklog]) -> Throughput:
    """Return the medians of the runs."""
    return Throughput(
        system=system,
        per_s=median(run.outputs_per_s for run in runs),
        each=tuple(run.outputs_per_s for run in runs),
        missing=sum(run.missing_count for run in runs),
        cpu={name: median(run.cpu[name] for run in runs) for name in runs[0].cpu},
    )


def ratio(figure: float, floor: float | None) -> float | None:
    """Return the ratio to the floor; None if the floor was not measured."""
    return figure / floor if floor else None
