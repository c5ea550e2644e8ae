"""Anomalies of daily series: spans of days whose sum is far from its expected value.

In each series, all spans of up to six weeks are examined, and the span furthest from its baseline,
in standard deviations, is tested: its p-value is the share of series drawn from the baseline with
any span at least as far (the tail of a Gumbel distribution fitted to the maxima of simulated
series). Over all series the false discovery rate is controlled at 5 % (Benjamini & Hochberg).
Significant spans are left out and the baselines fitted again, until no further span is significant
or after three rounds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

import numpy as np
from scipy import stats

from pipeline.insights.baseline import Baseline, Mask, fit, refit_dispersion
from pipeline.insights.daily import DailySeries
from pipeline.insights.paths import Floats

Direction: TypeAlias = Literal["more", "fewer"]

RATE: Final = 0.05
_LENGTHS: Final = (1, 2, 3, 5, 7, 10, 14, 18, 21, 25, 28, 32, 37, 42)
_DRAW_COUNT: Final = 200
_MAX_ROUNDS: Final = 3
_MIN_DAYS: Final = 28
_MIN_EVENTS: Final = 30.0
_MIN_VARIANCE: Final = 3.0
"""Least variance of a span's sum; with less, a single event where none is expected would always be
the furthest span."""

_MIN_SPAN_EVENTS: Final = 3.0
"""Fewest events of a span, expected or counted; a span with fewer of both is no evidence."""


@dataclass(frozen=True, slots=True, eq=False)
class Anomaly:
    """Days `first` to `last` (inclusive; since the beginning of the series) of a series.

    `count` and `expected` are sums over these days; `deviations`: their difference in standard
    deviations; `q`: false discovery rate.
    """

    series: DailySeries
    first: int
    last: int
    direction: Direction
    count: float
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
class _ExaminedSpan:
    """Span of days (inclusive); `deviations`: distance of its sum from the baseline, in standard
    deviations."""

    first: int
    last: int
    deviations: float = 0.0


@dataclass(frozen=True, slots=True)
class _AnomalousSpan:
    """Span of days (inclusive) with its p-value and, after the test, its false discovery rate."""

    first: int
    last: int
    deviations: float
    p: float
    q: float = 1.0


def scan(series: Sequence[DailySeries], seed: int) -> tuple[SeriesScan, ...]:
    """Return the series that have enough data, with their anomalies; `seed`: of simulated
    series."""
    usable_series = [daily for daily in series if _has_enough_data(daily)]
    random = np.random.default_rng(seed)
    masks = [np.ones(daily.day_count, dtype=np.bool_) for daily in usable_series]
    spans_by_series: list[list[_AnomalousSpan]] = [[] for _ in usable_series]
    open_series = list(range(len(usable_series)))
    for _ in range(_MAX_ROUNDS):
        spans = [
            (index, _largest_deviation(usable_series[index], masks[index], random))
            for index in open_series
        ]
        if not spans:
            break
        rates = stats.false_discovery_control(
            [1.0 if span is None else span.p for _, span in spans]
        )
        open_series = []
        for (index, span), q in zip(spans, rates, strict=True):
            if span is None or q > RATE:
                continue
            masks[index][span.first : span.last + 1] = False
            spans_by_series[index].append(replace(span, q=float(q)))
            open_series.append(index)
        if not open_series:
            break
    return tuple(
        _scan(daily, mask, spans)
        for daily, mask, spans in zip(usable_series, masks, spans_by_series, strict=True)
    )


def _has_enough_data(series: DailySeries) -> bool:
    basis = series.counts if series.trials is None else series.trials
    return series.day_count >= _MIN_DAYS and float(basis.sum()) >= _MIN_EVENTS


def _scan(series: DailySeries, mask: Mask, spans: Sequence[_AnomalousSpan]) -> SeriesScan:
    """Return the series with the spans as anomalies, against a baseline that leaves them out."""
    baseline = fit(series, mask)
    anomalies = [
        _anomaly(series, baseline, span) for span in sorted(spans, key=lambda span: span.first)
    ]
    return SeriesScan(series, baseline, tuple(anomalies))


def _anomaly(series: DailySeries, baseline: Baseline, span: _AnomalousSpan) -> Anomaly:
    days = slice(span.first, span.last + 1)
    count = float(series.counts[days].sum())
    expected = float(baseline.expected[days].sum())
    return Anomaly(
        series=series,
        first=span.first,
        last=span.last,
        direction="more" if count > expected else "fewer",
        count=count,
        expected=expected,
        deviations=(count - expected) / float(np.sqrt(baseline.variance[days].sum())),
        p=span.p,
        q=span.q,
    )


def _largest_deviation(
    series: DailySeries, mask: Mask, random: np.random.Generator
) -> _AnomalousSpan | None:
    """Return the span that is furthest from the baseline, with its p-value over all spans.

    None: the series is too short, or the span has too few events.
    """
    baseline = fit(series, mask)
    weights = np.where(mask, 1.0, 0.0)
    lengths = [length for length in _LENGTHS if length <= series.day_count // 3]
    if not lengths:
        return None
    residual = (series.counts - baseline.expected) * weights
    variance = baseline.variance * weights
    start = _furthest_spans(residual[None, :], variance, lengths)[1][0]
    other_days = mask.copy()
    other_days[start.first : start.last + 1] = False
    baseline = refit_dispersion(series, baseline, other_days)
    variance = baseline.variance * weights
    span = _refine(residual, variance, start)
    days = slice(span.first, span.last + 1)
    draws = _draw_residuals(series, baseline, random) * weights
    maxima = _furthest_spans(draws, variance, lengths)[0]
    expected = float((baseline.expected * weights)[days].sum())
    count = float((series.counts * weights)[days].sum())
    if max(expected, count) < _MIN_SPAN_EVENTS:
        return None
    p_value = _tail(abs(span.deviations), maxima)
    return _AnomalousSpan(span.first, span.last, span.deviations, p_value)


def _furthest_spans(
    residuals: Floats, variance: Floats, lengths: Sequence[int]
) -> tuple[Floats, list[_ExaminedSpan]]:
    """Return for each row the greatest distance from 0, and its span."""
    row_count = residuals.shape[0]
    sums = np.concatenate((np.zeros((row_count, 1)), np.cumsum(residuals, axis=1)), axis=1)
    variance_sums = np.concatenate(([0.0], np.cumsum(variance)))
    greatest_distances = np.zeros(row_count)
    spans = [_ExaminedSpan(0, 0)] * row_count
    for length in lengths:
        deviation = np.sqrt(
            np.maximum(variance_sums[length:] - variance_sums[:-length], _MIN_VARIANCE)
        )
        distances = np.abs(sums[:, length:] - sums[:, :-length]) / deviation
        starts = distances.argmax(axis=1)
        row_maxima = distances[np.arange(row_count), starts]
        for row in np.flatnonzero(row_maxima > greatest_distances):
            spans[row] = _ExaminedSpan(int(starts[row]), int(starts[row]) + length - 1)
        greatest_distances = np.maximum(greatest_distances, row_maxima)
    return greatest_distances, spans


def _refine(residual: Floats, variance: Floats, start: _ExaminedSpan) -> _ExaminedSpan:
    """Return the span with the greatest distance whose ends are at most a week from those of
    `start`."""
    best_span = _ExaminedSpan(start.first, start.last)
    for first in range(max(start.first - 7, 0), min(start.first + 7, start.last) + 1):
        latest_day = min(start.last + 7, len(residual) - 1)
        for last in range(max(start.last - 7, first), latest_day + 1):
            deviation = float(np.sqrt(max(variance[first : last + 1].sum(), _MIN_VARIANCE)))
            distance = float(residual[first : last + 1].sum()) / deviation
            if abs(distance) > abs(best_span.deviations):
                best_span = _ExaminedSpan(first, last, distance)
    return best_span


def _draw_residuals(series: DailySeries, baseline: Baseline, random: np.random.Generator) -> Floats:
    """Return residuals of series drawn from the baseline, with its dispersion."""
    shape = (_DRAW_COUNT, series.day_count)
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
    """Return the p-value of a maximum: the tail of a Gumbel distribution with the moments of the
    simulated `maxima`, at least the share of these that are as great, and at least 1e-6."""
    scale = max(float(maxima.std()) * float(np.sqrt(6)) / float(np.pi), 1e-3)
    location = float(maxima.mean()) - float(np.euler_gamma) * scale
    gumbel = -float(np.expm1(-np.exp(-(deviations - location) / scale)))
    share_above = float((maxima >= deviations).mean())
    return min(max(gumbel, share_above, 1e-6), 1.0)
