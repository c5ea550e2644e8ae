"""Statistics of samples: percentiles, medians over repeats, ratios to the floor; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from statistics import median
from typing import TypeAlias

Headers: TypeAlias = Sequence[tuple[str, bytes]]

_ON_TIME = 1.05
_SLACK_S = 0.5
_LATE_S = 1.0


@dataclass(frozen=True, slots=True)
class Sample:
    """Measurement at one rate.

    `latencies_ms` and `headers` are those of the records that arrived, in the same order; latencies
    count from the time at which a record was meant to be sent. `seconds`: from the first sending to
    the last arrival; `cpu`: cores, by process.
    """

    sent: int
    meant_seconds: float
    seconds: float
    latencies_ms: Sequence[float]
    headers: Sequence[Headers]
    cpu: Mapping[str, float]

    @property
    def sustained(self) -> bool:
        """Whether everything came out, and the latency did not keep growing."""
        complete = len(self.latencies_ms) == self.sent
        return complete and self.seconds <= self.meant_seconds * _ON_TIME + _SLACK_S


@dataclass(frozen=True, slots=True)
class DrainedBacklog:
    """Backlog of `sent` records, of which `arrived` came out in `seconds`, from the first sending
    to the last arrival; `cpu`: cores, by process."""

    sent: int
    arrived: int
    seconds: float
    cpu: Mapping[str, float]

    @property
    def per_s(self) -> float:
        return self.arrived / self.seconds

    @property
    def missing(self) -> int:
        """Number of records that did not come in time."""
        return self.sent - self.arrived


@dataclass(frozen=True, slots=True)
class Passage:
    """Record that came through: when it was due, when it came (s, by one clock), and its output
    partition."""

    due: float
    at: float
    partition: int

    @property
    def duration_s(self) -> float:
        return self.at - self.due


@dataclass(frozen=True, slots=True)
class Passages:
    """Passages of those of `sent` records that came through."""

    sent: int
    arrivals: Sequence[Passage]

    def longest_wait_after(self, moment: float) -> float:
        """Return the wait (s) of the slowest partition for a record that was sent after `moment`;
        inf if one had none."""
        first = dict.fromkeys((passage.partition for passage in self.arrivals), inf)
        for passage in self.arrivals:
            if passage.due > moment:
                first[passage.partition] = min(first[passage.partition], passage.at - moment)
        return max(first.values(), default=inf)

    def late_until(self, moment: float) -> float:
        """Return how long after `moment` (s) the last record came that had taken over a second."""
        return max(
            (passage.at - moment for passage in self.arrivals if passage.duration_s > _LATE_S),
            default=0.0,
        )

    def latencies_ms(self, begin: float, end: float) -> list[float]:
        """Return the latencies of records due between the two moments (end exclusive), sorted."""
        return sorted(
            passage.duration_s * 1000 for passage in self.arrivals if begin <= passage.due < end
        )

    @property
    def missing(self) -> int:
        """Number of records that never came."""
        return self.sent - len(self.arrivals)


@dataclass(frozen=True, slots=True)
class Latency:
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
    def behind(self) -> int:
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


OTHERS = ("broker", "load")
"""Processes that every system has beside it."""


def own_cores(cpu: Mapping[str, float]) -> float:
    """Return the cores that the system's own processes use."""
    return sum(cores for name, cores in cpu.items() if name not in OTHERS)


def percentile(ordered_values: Sequence[float], share: float) -> float:
    """Return the nearest rank: the least value that at least `share` of the values do not
    exceed."""
    if not ordered_values:
        return float("nan")
    rank = -(-len(ordered_values) * share // 1)
    return ordered_values[max(int(rank), 1) - 1]


def summarise(system: str, rate: int, samples: Sequence[Sample], repeats: int) -> Latency:
    """Return the medians of the samples, and how many of `repeats` reached the rate."""
    sorted_latencies = [sorted(sample.latencies_ms) for sample in samples]

    def middle(share: float) -> float:
        return median(percentile(latencies, share) for latencies in sorted_latencies)

    return Latency(
        system=system,
        rate=rate,
        p50=middle(0.50),
        p95=middle(0.95),
        p99=middle(0.99),
        max=middle(1.0),
        p99s=tuple(percentile(latencies, 0.99) for latencies in sorted_latencies),
        out_per_s=median(len(sample.latencies_ms) / sample.seconds for sample in samples),
        missing=sum(sample.sent - len(sample.latencies_ms) for sample in samples),
        repeats=repeats,
        reached=len(samples),
        sustained=sum(sample.sustained for sample in samples),
        cpu={name: median(sample.cpu[name] for sample in samples) for name in samples[0].cpu},
    )


def summarise_drained(system: str, runs: Sequence[DrainedBacklog]) -> Throughput:
    """Return the medians of the runs."""
    return Throughput(
        system=system,
        per_s=median(run.per_s for run in runs),
        each=tuple(run.per_s for run in runs),
        missing=sum(run.missing for run in runs),
        cpu={name: median(run.cpu[name] for run in runs) for name in runs[0].cpu},
    )


def ratio(figure: float, floor: float | None) -> float | None:
    """Return the ratio; None where the floor was not measured."""
    return figure / floor if floor else None
