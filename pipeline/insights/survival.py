"""Time to convert with censoring: the Kaplan-Meier estimator with Greenwood's variance.

Intervals (95 %) of shares are on the scale of log(-log S), so that they stay between 0 and 1; there
is none where S is 0 or 1. The interval of a difference of shares is on the linear scale. A case
that is censored at a time counts as at risk of what happens at that time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np

from pipeline.insights.paths import Floats

_Z_95: Final = NormalDist().inv_cdf(0.975)
_MAX_POINTS: Final = 50


@dataclass(frozen=True, slots=True)
class FollowedCases:
    """Cases that were followed for `duration` and then converted or, otherwise, were censored."""

    duration: int
    converted: bool
    cases: int


@dataclass(frozen=True, slots=True)
class BoundedEstimate:
    """Share, or difference of two shares, with its interval of 95 % (None: too few data)."""

    share: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Share of all cases that have converted by a time; `at_risk`: number of cases that were
    neither converted nor censored just before it."""

    at_ms: int
    converted: BoundedEstimate
    at_risk: int


@dataclass(frozen=True, slots=True)
class ConversionCurve:
    """Curve of conversion over time, at most 50 points. `converted`: the share at the end of the
    longest follow-up (None: no cases); the quartiles are the times by which a quarter, a half,
    three quarters have converted (None: never that many)."""

    cases: int
    conversions: int
    converted: BoundedEstimate | None
    quartiles_ms: tuple[int | None, int | None, int | None]
    points: tuple[CurvePoint, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Survival:
    """Survival function: at each time of a conversion the cases at risk, S just after it, and
    Greenwood's sum for it."""

    times: tuple[int, ...]
    at_risk: tuple[int, ...]
    survival: Floats
    greenwood: Floats
    cases: int
    conversions: int
    last_time: int

    def estimate(self, time: int) -> tuple[float, float]:
        """Return S at a time, and its variance."""
        index = int(np.searchsorted(np.array(self.times), time, side="right")) - 1
        if index < 0:
            return 1.0, 0.0
        remaining_share = float(self.survival[index])
        return remaining_share, remaining_share**2 * float(self.greenwood[index])

    def share_converted(self, index: int) -> BoundedEstimate:
        """Return the share converted up to the time with this index, with its interval."""
        return _bounded_share(float(self.survival[index]), float(self.greenwood[index]))


def kaplan_meier(groups: Sequence[FollowedCases]) -> Survival:
    """Estimate the share of cases not yet converted, over time."""
    duration = np.array([group.duration for group in groups], dtype=np.int64)
    cases = np.array([group.cases for group in groups], dtype=np.int64)
    conversions = cases * np.array([group.converted for group in groups], dtype=np.int64)
    times, positions = np.unique(duration, return_inverse=True)
    endings = np.zeros(len(times), dtype=np.int64)
    events = np.zeros(len(times), dtype=np.int64)
    np.add.at(endings, positions, cases)
    np.add.at(events, positions, conversions)
    at_risk = (
        cases.sum() - np.concatenate(([0], np.cumsum(endings)[:-1])) if len(times) else endings
    )
    has_conversions = events > 0
    risk_counts = at_risk[has_conversions].astype(np.float64)
    conversion_counts = events[has_conversions].astype(np.float64)
    remaining = risk_counts - conversion_counts
    terms = np.divide(
        conversion_counts,
        risk_counts * remaining,
        out=np.zeros_like(conversion_counts),
        where=remaining > 0,
    )
    return Survival(
        tuple(times[has_conversions].tolist()),
        tuple(at_risk[has_conversions].tolist()),
        np.cumprod(remaining / risk_counts),
        np.cumsum(terms),
        int(cases.sum()),
        int(events.sum()),
        int(times[-1]) if len(times) else 0,
    )


def _bounded_share(remaining_share: float, greenwood: float) -> BoundedEstimate:
    if not 0.0 < remaining_share < 1.0:
        return BoundedEstimate(1.0 - remaining_share, None, None)
    reach = np.exp(_Z_95 * np.sqrt(greenwood) / abs(np.log(remaining_share)))
    return BoundedEstimate(
        1.0 - remaining_share,
        1.0 - float(remaining_share ** (1 / reach)),
        1.0 - float(remaining_share**reach),
    )


def conversion_curve(groups: Sequence[FollowedCases]) -> ConversionCurve:
    """Return the curve of conversion over time; durations of the groups are in ms."""
    survival = kaplan_meier(groups)
    final_share = BoundedEstimate(0.0, None, None) if survival.cases else None
    if survival.times:
        final_share = survival.share_converted(-1)
    return ConversionCurve(
        survival.cases,
        survival.conversions,
        final_share,
        (
            _quartile_time(survival, 0.25),
            _quartile_time(survival, 0.5),
            _quartile_time(survival, 0.75),
        ),
        tuple(_points(survival)),
    )


def _quartile_time(survival: Survival, share: float) -> int | None:
    """Return the time by which this share has converted; None: never that many."""
    indices = np.flatnonzero(survival.survival <= 1.0 - share + 1e-12)
    return survival.times[int(indices[0])] if len(indices) else None


def _points(survival: Survival) -> Iterator[CurvePoint]:
    count = len(survival.times)
    indices = np.unique(np.linspace(0, count - 1, min(count, _MAX_POINTS)).round().astype(int))
    for index in indices.tolist():
        yield CurvePoint(
            survival.times[index], survival.share_converted(index), survival.at_risk[index]
        )


def difference(survival: Survival, other: Survival) -> BoundedEstimate | None:
    """Return by how much the converted share of `survival` exceeds that of `other` at the end of
    the shorter follow-up; None if one of them has no cases."""
    end = min(survival.last_time, other.last_time)
    (remaining_share, variance), (other_share, other_variance) = (
        survival.estimate(end),
        other.estimate(end),
    )
    if not (survival.cases and other.cases):
        return None
    spread = variance + other_variance
    if spread <= 0.0:
        return BoundedEstimate(other_share - remaining_share, None, None)
    reach = _Z_95 * float(np.sqrt(spread))
    surplus = other_share - remaining_share
    return BoundedEstimate(surplus, surplus - reach, surplus + reach)
