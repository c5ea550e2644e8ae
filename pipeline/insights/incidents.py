"""Incidents for a business user: anomalies grouped by time, and their cost.

Anomalies belong to one incident when their days overlap by half of the shorter. Its cost is the
number of goals that were not reached: the visits that would have gone on without the incident,
times the usual share of visitors there who reach the goal.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Final

import numpy as np

from pipeline.insights.anomalies import Anomaly, Direction, SeriesScan
from pipeline.insights.daily import DailySeries, SeriesKind
from pipeline.insights.forecast import Forecast, forecast
from pipeline.insights.paths import Floats

_Z_95: Final = 1.959963984540054
_RECENT_DAYS: Final = 56


@dataclass(frozen=True, slots=True)
class SeriesEvidence:
    """Anomalous series: `observed` where `expected` were expected, from `first_day` to `last_day`
    (inclusive; days since 1970). `channel` None: all channels together."""

    kind: SeriesKind
    step: str
    to: str | None
    channel: str | None
    first_day: int
    last_day: int
    direction: Direction
    observed: float
    expected: float
    q: float


@dataclass(frozen=True, slots=True)
class Loss:
    """Goals not reached because of an incident, with an interval of 95 %."""

    goals: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Incident:
    """Incident from `first_day` to `last_day` (inclusive; days since 1970); the strongest evidence
    first."""

    first_day: int
    last_day: int
    channels: tuple[str, ...]
    ongoing: bool
    evidence: tuple[SeriesEvidence, ...]
    loss: Loss | None


@dataclass(frozen=True, slots=True)
class Trend:
    """Trend of a series: change in a week over the last eight (of counts in per cent, of shares in
    points; None: too few), and days of the week against their mean, Monday first."""

    kind: SeriesKind
    step: str
    to: str | None
    channel: str | None
    level: float
    weekly_change: float | None
    weekdays: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SeriesForecast:
    """Forecast of a series; `what`: all events, or the goal."""

    what: str
    channel: str | None
    forecast: Forecast


@dataclass(frozen=True, slots=True)
class SeriesOverview:
    """Development of all series. `series`: those with enough data; `quiet`: those without
    anomaly."""

    first_day: int
    last_day: int
    goal: str | None
    series: int
    quiet: int
    incidents: tuple[Incident, ...]
    trends: tuple[Trend, ...]
    forecasts: tuple[SeriesForecast, ...]


def course(
    series: Sequence[DailySeries], scanned: Sequence[SeriesScan], goal: str | None
) -> SeriesOverview | None:
    """Return incidents, trends and forecasts; None without a whole day."""
    if not series:
        return None
    first, days = series[0].first_day, series[0].days
    return SeriesOverview(
        first_day=first,
        last_day=first + days - 1,
        goal=goal,
        series=len(scanned),
        quiet=sum(not series_scan.anomalies for series_scan in scanned),
        incidents=incidents(scanned, goal),
        trends=tuple(map(_trend, scanned)),
        forecasts=tuple(_forecasts(series, goal)),
    )


def incidents(scanned: Sequence[SeriesScan], goal: str | None) -> tuple[Incident, ...]:
    """Return the incidents in the order of time."""
    groups: list[list[tuple[SeriesScan, Anomaly]]] = []
    pairs = [(series_scan, anomaly) for series_scan in scanned for anomaly in series_scan.anomalies]
    for pair in sorted(pairs, key=lambda pair: -abs(pair[1].deviations)):
        for group in groups:
            if any(_overlap(pair[1], other) for _, other in group):
                group.append(pair)
                break
        else:
            groups.append([pair])
    summaries = (_incident(group, scanned, goal) for group in groups)
    return tuple(sorted(summaries, key=lambda summary: summary.first_day))


def _overlap(anomaly: Anomaly, other: Anomaly) -> bool:
    common = min(anomaly.last, other.last) - max(anomaly.first, other.first) + 1
    shorter = min(anomaly.last - anomaly.first, other.last - other.first) + 1
    return common * 2 >= shorter


def _incident(
    group: Sequence[tuple[SeriesScan, Anomaly]],
    scanned: Sequence[SeriesScan],
    goal: str | None,
) -> Incident:
    main = next((anomaly for _, anomaly in group if anomaly.series.kind == "goes on"), group[0][1])
    start = main.series.first_day
    named = {anomaly.series.channel for _, anomaly in group if anomaly.series.channel is not None}
    return Incident(
        first_day=start + main.first,
        last_day=start + main.last,
        channels=tuple(sorted(named)),
        ongoing=main.last >= main.series.days - 2,
        evidence=tuple(_evidence(anomaly) for _, anomaly in group),
        loss=None if goal is None else _loss(group, scanned, goal),
    )


def _evidence(anomaly: Anomaly) -> SeriesEvidence:
    start = anomaly.series.first_day
    return SeriesEvidence(
        anomaly.series.kind,
        anomaly.series.step,
        anomaly.series.to,
        anomaly.series.channel,
        start + anomaly.first,
        start + anomaly.last,
        anomaly.direction,
        anomaly.observed,
        anomaly.expected,
        anomaly.q,
    )


def _loss(
    group: Sequence[tuple[SeriesScan, Anomaly]], scanned: Sequence[SeriesScan], goal: str
) -> Loss | None:
    """Return the greatest loss at one step: over channels, or of all together."""
    by_channel: dict[str | None, tuple[float, float]] = {}
    for series_scan, anomaly in group:
        if anomaly.series.kind != "goes on" or anomaly.direction != "fewer":
            continue
        rate = _goal_rate(anomaly.series, scanned, goal)
        if rate is None:
            continue
        span = slice(anomaly.first, anomaly.last + 1)
        missing = (anomaly.expected - anomaly.observed) * rate
        variance = float(series_scan.baseline.variance[span].sum()) * rate * rate
        channel = anomaly.series.channel
        if missing > by_channel.get(channel, (0.0, 0.0))[0]:
            by_channel[channel] = (missing, variance)
    named = [pair for channel, pair in by_channel.items() if channel is not None]
    sums = [(sum(pair[0] for pair in named), sum(pair[1] for pair in named))] if named else []
    together = [by_channel[None]] if None in by_channel else []
    if not (sums or together):
        return None
    missing, variance = max((*sums, *together))
    reach = _Z_95 * sqrt(variance)
    return Loss(missing, max(missing - reach, 0.0), missing + reach)


def _goal_rate(series: DailySeries, scanned: Sequence[SeriesScan], goal: str) -> float | None:
    """Return the share of visits with the next step that have the goal, on days without anomaly."""
    if series.to == goal:
        return 1.0
    for series_scan in scanned:
        other = series_scan.series
        if (other.step, other.to, other.channel) == (series.to, goal, series.channel):
            use = np.ones(other.days, dtype=np.bool_)
            for anomaly in series_scan.anomalies:
                use[anomaly.first : anomaly.last + 1] = False
            trials = 0.0 if other.trials is None else float(other.trials[use].sum())
            return float(other.counts[use].sum()) / trials if trials else None
    return None


def _trend(series_scan: SeriesScan) -> Trend:
    series, baseline = series_scan.series, series_scan.baseline
    recent = slice(max(series.days - _RECENT_DAYS, 0), series.days)
    expected = baseline.expected[recent]
    if series.trials is None:
        level, change = float(expected.mean()), _slope(np.log(np.maximum(expected, 1e-9)))
    else:
        trials = series.trials[recent]
        share = expected[trials > 0] / trials[trials > 0]
        level = float(share.mean()) if len(share) else 0.0
        change = _slope(share) if len(share) else None
    return Trend(
        series.kind, series.step, series.to, series.channel, level, change, baseline.weekdays
    )


def _slope(values: Floats) -> float | None:
    """Return the change per week."""
    if len(values) < 2 * 7:
        return None
    return float(np.polyfit(np.arange(len(values)), values, 1)[0]) * 7


def _forecasts(series: Sequence[DailySeries], goal: str | None) -> Iterable[SeriesForecast]:
    volumes = [daily for daily in series if daily.kind == "volume" and daily.channel is not None]
    channels = sorted({volume.channel for volume in volumes if volume.channel is not None})
    scopes: list[str | None] = [None, *channels] if len(channels) > 1 else [None]
    for channel in scopes:
        for name in ("all events", goal):
            if name is None:
                continue
            chosen = [
                volume.counts
                for volume in volumes
                if channel in (None, volume.channel)
                and (name == "all events" or volume.step == name)
            ]
            if chosen:
                prediction = forecast(np.sum(chosen, axis=0), series[0].first_day)
                if prediction is not None:
                    yield SeriesForecast(name, channel, prediction)
