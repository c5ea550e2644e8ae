"""Anomalies of daily series: spans of days whose sum is far from its expected value.

In each series, all spans of up to six weeks are examined, and the one furthest from its baseline,
in standard deviations, is tested: its p-value is the share of series drawn from the baseline with a
span at least as far anywhere (the tail of a Gumbel distribution fitted to the maxima of simulated
series). Over all series the false discovery rate is controlled at 5 % (Benjamini & Hochberg).
Significant spans are left out and the baselines fitted again, until no further span is significant.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
from scipy import stats

from pipeline.insights.baseline import Baseline, Mask, fit, with_dispersion_of
from pipeline.insights.daily import DailySeries
from pipeline.insights.paths import Floats

Direction: TypeAlias = Literal["more", "fewer"]

RATE: Final = 0.05
_LENGTHS: Final = (1, 2, 3, 5, 7, 10, 14, 18, 21, 25, 28, 32, 37, 42)
_DRAWS: Final = 200
_ROUNDS: Final = 3
_FEWEST_DAYS: Final = 28
_FEWEST: Final = 30.0
_LEAST_VARIANCE: Final = 3.0
"""Least variance of a span's sum; with less, single events where none was expected would always be
the furthest span."""

_FEWEST_EXPECTED: Final = 3.0
"""Fewest expected events of a span, unless more are observed; a lower sum is no evidence."""


@dataclass(frozen=True, slots=True, eq=False)
class Anomaly:
    """Days `first` to `last` (inclusive; since the beginning of the series) of a series.

    `observed` and `expected` are sums over them; `q`: false discovery rate.
    """

    series: DailySeries
    first: int
    last: int
    direction: Direction
    observed: float
    expected: float
    deviations: float
    p: float
    q: float


@dataclass(frozen=True, slots=True, eq=False)
class SeriesScan:
    """Series with its anomalies, and the baseline that leaves them out."""

    series: DailySeries
    baseline: Baseline
    anomalies: tuple[Anomaly, ...]


@dataclass(frozen=True, slots=True)
class _AnomalousSpan:
    first: int
    last: int
    deviations: float
    p: float


def scan(series: Sequence[DailySeries], seed: int) -> tuple[SeriesScan, ...]:
    """Return the series that have enough data, with their anomalies."""
    known = [daily for daily in series if _is_enough(daily)]
    random = np.random.default_rng(seed)
    masks = [np.ones(daily.days, dtype=np.bool_) for daily in known]
    by_series: list[list[Anomaly]] = [[] for _ in known]
    open_series = list(range(len(known)))
    for _ in range(_ROUNDS):
        tested = [
            (index, _largest_deviation(known[index], masks[index], random)) for index in open_series
        ]
        if not tested:
            break
        rates = stats.false_discovery_control(
            [1.0 if span is None else span.p for _, span in tested]
        )
        open_series = []
        for (index, span), q in zip(tested, rates, strict=True):
            if span is None or q > RATE:
                continue
            masks[index][span.first : span.last + 1] = False
            by_series[index].append(_placeholder(known[index], span, float(q)))
            open_series.append(index)
        if not open_series:
            break
    return tuple(
        _scan(daily, mask, anomalies)
        for daily, mask, anomalies in zip(known, masks, by_series, strict=True)
    )


def _is_enough(series: DailySeries) -> bool:
    basis = series.counts if series.trials is None else series.trials
    return series.days >= _FEWEST_DAYS and float(basis.sum()) >= _FEWEST


def _placeholder(series: DailySeries, span: _AnomalousSpan, q: float) -> Anomaly:
    direction: Direction = "more" if span.deviations > 0 else "fewer"
    return Anomaly(series, span.first, span.last, direction, 0, 0, span.deviations, span.p, q)


def _scan(series: DailySeries, mask: Mask, anomalies: list[Anomaly]) -> SeriesScan:
    """Scan with a baseline that leaves all anomalies out."""
    baseline = fit(series, mask)
    final = []
    for anomaly in sorted(anomalies, key=lambda anomaly: anomaly.first):
        span = slice(anomaly.first, anomaly.last + 1)
        observed = float(series.counts[span].sum())
        expected = float(baseline.expected[span].sum())
        direction: Direction = "more" if observed > expected else "fewer"
        reach = float(np.sqrt(baseline.variance[span].sum()))
        deviations = (observed - expected) / reach
        final.append(
            Anomaly(
                series,
                anomaly.first,
                anomaly.last,
                direction,
                observed,
                expected,
                deviations,
                anomaly.p,
                anomaly.q,
            )
        )
    return SeriesScan(series, baseline, tuple(final))


def _largest_deviation(
    series: DailySeries, mask: Mask, random: np.random.Generator
) -> _AnomalousSpan | None:
    """Return the span that is furthest from the baseline, with its p-value over all spans."""
    baseline = fit(series, mask)
    usable = np.where(mask, 1.0, 0.0)
    lengths = [length for length in _LENGTHS if length <= series.days // 3]
    if not lengths:
        return None
    residual = (series.counts - baseline.expected) * usable
    variance = baseline.variance * usable
    span = _best(residual[None, :], variance, lengths)[1][0]
    others = mask.copy()
    others[span[0] : span[1] + 1] = False
    baseline = with_dispersion_of(series, baseline, others)
    variance = baseline.variance * usable
    best = _refine(residual, variance, span)
    drawn = _draw_residuals(series, baseline, random) * usable
    maxima = _best(drawn, variance, lengths)[0]
    first, last, deviations = best
    expected = float((baseline.expected * usable)[first : last + 1].sum())
    observed = float((series.counts * usable)[first : last + 1].sum())
    if max(expected, observed) < _FEWEST_EXPECTED:
        return None
    return _AnomalousSpan(first, last, deviations, _tail(abs(deviations), maxima))


def _best(
    residuals: Floats, variance: Floats, lengths: Sequence[int]
) -> tuple[Floats, list[tuple[int, int]]]:
    """Return for each row the greatest distance, and its span (first, last)."""
    rows = residuals.shape[0]
    sums = np.concatenate((np.zeros((rows, 1)), np.cumsum(residuals, axis=1)), axis=1)
    total = np.concatenate(([0.0], np.cumsum(variance)))
    greatest = np.zeros(rows)
    spans = [(0, 0)] * rows
    for length in lengths:
        reach = np.sqrt(np.maximum(total[length:] - total[:-length], _LEAST_VARIANCE))
        distance = np.abs(sums[:, length:] - sums[:, :-length]) / reach
        at = distance.argmax(axis=1)
        here = distance[np.arange(rows), at]
        for row in np.flatnonzero(here > greatest):
            spans[row] = (int(at[row]), int(at[row]) + length - 1)
        greatest = np.maximum(greatest, here)
    return greatest, spans


def _refine(residual: Floats, variance: Floats, span: tuple[int, int]) -> tuple[int, int, float]:
    """Move both ends by up to a week to where the distance is greatest."""
    best = (span[0], span[1], 0.0)
    for first in range(max(span[0] - 7, 0), min(span[0] + 7, span[1]) + 1):
        for last in range(max(span[1] - 7, first), min(span[1] + 7, len(residual) - 1) + 1):
            reach = float(np.sqrt(max(variance[first : last + 1].sum(), _LEAST_VARIANCE)))
            distance = float(residual[first : last + 1].sum()) / reach
            if abs(distance) > abs(best[2]):
                best = (first, last, distance)
    return best


def _draw_residuals(series: DailySeries, baseline: Baseline, random: np.random.Generator) -> Floats:
    """Return residuals of series drawn from the baseline, with its dispersion."""
    shape = (_DRAWS, series.days)
    excess = baseline.dispersion - 1
    if series.trials is None:
        mean = np.broadcast_to(baseline.expected, shape)
        if excess > 1e-6:
            mean = random.gamma(np.maximum(mean, 1e-9) / excess, excess)
        return random.poisson(mean) - baseline.expected
    trials = series.trials.astype(np.int64)
    share = baseline.expected / np.maximum(series.trials, 1)
    share = np.clip(share, 1e-9, 1 - 1e-9)
    hits = random.binomial(trials, share, size=shape)
    # Binomial draws, stretched: shares of a few trials leave no room for a mixture's variance.
    return (hits - baseline.expected) * float(np.sqrt(baseline.dispersion))


def _tail(deviations: float, maxima: Floats) -> float:
    """Return the chance of such a maximum under a Gumbel distribution with the maxima's moments; at
    least a thousandth of the least chance that this number of draws can distinguish from 0."""
    scale = max(float(maxima.std()) * float(np.sqrt(6)) / float(np.pi), 1e-3)
    location = float(maxima.mean()) - float(np.euler_gamma) * scale
    gumbel = -float(np.expm1(-np.exp(-(deviations - location) / scale)))
    exceeded = float((maxima >= deviations).mean())
    return min(max(gumbel, exceeded, 1e-6), 1.0)
