"""Incidents for a business user: anomalies grouped by time, and their cost.

Anomalies belong to one incident when their days overlap by half of the shorter span. The cost of an
incident is the number of goals not reached: the missing visits with the next step, times the usual
share of such visits that reach the goal.
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
    """Anomaly of a series: its sum `observed`, and the `expected` one, from `first_day` to
    `last_day` (inclusive; days since 1970). `channel` None: all channels together."""

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
class _ScannedAnomaly:
    """Anomaly with the scan of its series."""

    scan: SeriesScan
    anomaly: Anomaly


@dataclass(frozen=True, slots=True, order=True)
class _ChannelLoss:
    """Number of goals missing in a channel, and its variance."""

    goals: float
    variance: float


@dataclass(frozen=True, slots=True)
class Loss:
    """Goals not reached because of an incident, with an interval of 95 %."""

    goals: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Incident:
    """Incident from `first_day` to `last_day` (inclusive; days since 1970), with its strongest
    evidence first; `loss`: None without a goal, or if no step lost visits."""

    first_day: int
    last_day: int
    channels: tuple[str, ...]
    ongoing: bool
    evidence: tuple[SeriesEvidence, ...]
    loss: Loss | None


@dataclass(frozen=True, slots=True)
class Trend:
    """Trend of a series over its last eight weeks: its `level`, its `weekly_change` (of the
    logarithm of counts, or of a share; None: less than two weeks), and the factors of `weekdays`,
    Monday first."""

    kind: SeriesKind
    step: str
    to: str | None
    channel: str | None
    level: float
    weekly_change: float | None
    weekdays: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SeriesForecast:
    """Forecast of a series; `what`: `all events`, or the name of the goal."""

    what: str
    channel: str | None
    forecast: Forecast


@dataclass(frozen=True, slots=True)
class SeriesOverview:
    """Development of all series, from `first_day` to `last_day`. `series`: number of series
    with enough data; `quiet`: number of series without an anomaly."""

    first_day: int
    last_day: int
    goal: str | None
    series: int
    quiet: int
    incidents: tuple[Incident, ...]
    trends: tuple[Trend, ...]
    forecasts: tuple[SeriesForecast, ...]


def series_overview(
    series: Sequence[DailySeries], scans: Sequence[SeriesScan], goal: str | None
) -> SeriesOverview | None:
    """Return incidents, trends and forecasts; None without any series."""
    if not series:
        return None
    first, days = series[0].first_day, series[0].day_count
    return SeriesOverview(
        first_day=first,
        last_day=first + days - 1,
        goal=goal,
        series=len(scans),
        quiet=sum(not series_scan.anomalies for series_scan in scans),
        incidents=incidents(scans, goal),
        trends=tuple(map(_trend, scans)),
        forecasts=tuple(_forecasts(series, goal)),
    )


def incidents(scans: Sequence[SeriesScan], goal: str | None) -> tuple[Incident, ...]:
    """Return the incidents in the order of their first days."""
    groups: list[list[_ScannedAnomaly]] = []
    entries = [
        _ScannedAnomaly(series_scan, anomaly)
        for series_scan in scans
        for anomaly in series_scan.anomalies
    ]
    for entry in sorted(entries, key=lambda entry: -abs(entry.anomaly.deviations)):
        for group in groups:
            if any(_is_overlapping(entry.anomaly, other.anomaly) for other in group):
                group.append(entry)
                break
        else:
            groups.append([entry])
    summaries = (_incident(group, scans, goal) for group in groups)
    return tuple(sorted(summaries, key=lambda summary: summary.first_day))


def _is_overlapping(anomaly: Anomaly, other: Anomaly) -> bool:
    common = min(anomaly.last, other.last) - max(anomaly.first, other.first) + 1
    shorter = min(anomaly.last - anomaly.first, other.last - other.first) + 1
    return common * 2 >= shorter


def _incident(
    group: Sequence[_ScannedAnomaly],
    scans: Sequence[SeriesScan],
    goal: str | None,
) -> Incident:
    anomalies = [entry.anomaly for entry in group]
    main = next(
        (anomaly for anomaly in anomalies if anomaly.series.kind == "goes on"), anomalies[0]
    )
    start = main.series.first_day
    channels = {
        anomaly.series.channel for anomaly in anomalies if anomaly.series.channel is not None
    }
    return Incident(
        first_day=start + main.first,
        last_day=start + main.last,
        channels=tuple(sorted(channels)),
        ongoing=main.last >= main.series.day_count - 2,
        evidence=tuple(map(_evidence, anomalies)),
        loss=None if goal is None else _loss(group, scans, goal),
    )


def _evidence(anomaly: Anomaly) -> SeriesEvidence:
    start = anomaly.series.first_day
    return SeriesEvidence(
        anomaly.series.kind,
        anomaly.series.step,
        anomaly.series.next_step,
        anomaly.series.channel,
        start + anomaly.first,
        start + anomaly.last,
        anomaly.direction,
        anomaly.count,
        anomaly.expected,
        anomaly.q,
    )


def _loss(group: Sequence[_ScannedAnomaly], scans: Sequence[SeriesScan], goal: str) -> Loss | None:
    """Return the greater loss of two: the sum over channels of the greatest loss at one step, or
    the greatest loss of a series over all channels. None if no step lost visits."""
    losses: dict[str | None, _ChannelLoss] = {}
    for entry in group:
        anomaly = entry.anomaly
        if anomaly.series.kind != "goes on" or anomaly.direction != "fewer":
            continue
        rate = _goal_rate(anomaly.series, scans, goal)
        if rate is None:
            continue
        span = slice(anomaly.first, anomaly.last + 1)
        missing_goals = (anomaly.expected - anomaly.count) * rate
        variance = float(entry.scan.baseline.variance[span].sum()) * rate * rate
        channel = anomaly.series.channel
        if missing_goals > losses.get(channel, _ChannelLoss(0.0, 0.0)).goals:
            losses[channel] = _ChannelLoss(missing_goals, variance)
    candidates = [losses.pop(None)] if None in losses else []
    if losses:
        total = sum(loss.goals for loss in losses.values())
        candidates.append(_ChannelLoss(total, sum(loss.variance for loss in losses.values())))
    if not candidates:
        return None
    greatest_loss = max(candidates)
    reach = _Z_95 * sqrt(greatest_loss.variance)
    return Loss(
        greatest_loss.goals, max(greatest_loss.goals - reach, 0.0), greatest_loss.goals + reach
    )


def _goal_rate(series: DailySeries, scans: Sequence[SeriesScan], goal: str) -> float | None:
    """Return the share of visits with the next step that have the goal, on days without anomaly;
    None if no series has it."""
    if series.next_step == goal:
        return 1.0
    for series_scan in scans:
        other = series_scan.series
        if (other.step, other.next_step, other.channel) == (series.next_step, goal, series.channel):
            is_normal = np.ones(other.day_count, dtype=np.bool_)
            for anomaly in series_scan.anomalies:
                is_normal[anomaly.first : anomaly.last + 1] = False
            trials = 0.0 if other.trials is None else float(other.trials[is_normal].sum())
            return float(other.counts[is_normal].sum()) / trials if trials else None
    return None


def _trend(series_scan: SeriesScan) -> Trend:
    series, baseline = series_scan.series, series_scan.baseline
    days = slice(max(series.day_count - _RECENT_DAYS, 0), series.day_count)
    expected = baseline.expected[days]
    if series.trials is None:
        level, change = float(expected.mean()), _slope(np.log(np.maximum(expected, 1e-9)))
    else:
        trials = series.trials[days]
        share = expected[trials > 0] / trials[trials > 0]
        level = float(share.mean()) if len(share) else 0.0
        change = _slope(share) if len(share) else None
    return Trend(
        series.kind, series.step, series.next_step, series.channel, level, change, baseline.weekdays
    )


def _slope(values: Floats) -> float | None:
    """Return the change per week; None for less than two weeks."""
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
            counts = [
                volume.counts
                for volume in volumes
                if channel in (None, volume.channel)
                and (name == "all events" or volume.step == name)
            ]
            if counts:
                prediction = forecast(np.sum(counts, axis=0), series[0].first_day)
                if prediction is not None:
                    yield SeriesForecast(name, channel, prediction)
