"""Forecasts of daily counts, chosen and scored by back-tests.

A forecast is the level of the latest days, weighted exponentially, times the day of the week, with
or without the damped trend of the last four weeks; or it is the seasonal naive forecast (the same
weekday a week before), which is also given for comparison. The table is forecast again from origins
a week apart. The earlier origins choose the model and, for the back-test, the width of the interval
(a quantile of the errors, each relative to the root of its forecast); the later origins give the
errors of the back-test. The interval of the forecast itself is by the errors from all origins.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final, TypeAlias

import numpy as np

from pipeline.insights.paths import Floats

Model: TypeAlias = Callable[[Floats, int], Floats]
"""Function of past counts and a number of days; returns the forecast of these next days."""

HORIZON: Final = 14
_COVERAGE: Final = 0.9
_WEEK: Final = 7
_MIN_DAYS: Final = 6 * _WEEK
_WEEKDAY_WEEKS: Final = 8
_SHRINKAGE: Final = 20.0
_TREND_DAYS: Final = 28
_DAMPING: Final = 0.9
_SMOOTHING: Final = (0.05, 0.1, 0.2, 0.4)
_CHOOSING_SHARE: Final = 0.6


@dataclass(frozen=True, slots=True)
class BackTest:
    """Mean absolute error of a day over the later `origins`, that of the naive forecast, and the
    share of days within the interval of 90 % (`covered`)."""

    origins: int
    error: float
    naive_error: float
    covered: float


@dataclass(frozen=True, slots=True)
class ForecastDay:
    """Day (since 1970) with its expected count, and its interval of 90 %."""

    day: int
    expected: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """Forecast of the next two weeks; `model` names the model with the least error, `total` is the
    sum of the days."""

    model: str
    days: tuple[ForecastDay, ...]
    total: float
    back_test: BackTest


def forecast(counts: Floats, first_day: int) -> Forecast | None:
    """Return the forecast; None for less than eleven weeks of counts, and for series without any
    event."""
    origins = list(range(_MIN_DAYS, len(counts) - HORIZON + 1, _WEEK))
    if len(origins) < 4 or not counts.any():
        return None
    split = ceil(len(origins) * _CHOOSING_SHARE)
    choosing_origins, scoring_origins = origins[:split], origins[split:]
    models = _models()
    name = min(models, key=lambda model: _error(models[model], counts, choosing_origins))
    model = models[name]
    reach = _reach(_relative_errors(model, counts, choosing_origins))
    back_test = BackTest(
        origins=len(scoring_origins),
        error=_error(model, counts, scoring_origins),
        naive_error=_error(_repeat_last_week, counts, scoring_origins),
        covered=float((_relative_errors(model, counts, scoring_origins) <= reach).mean()),
    )
    expected_counts = model(counts, HORIZON)
    reach = _reach(_relative_errors(model, counts, origins))
    days = tuple(
        ForecastDay(
            first_day + len(counts) + index,
            float(expected),
            max(float(expected - reach * _scale(expected)), 0.0),
            float(expected + reach * _scale(expected)),
        )
        for index, expected in enumerate(expected_counts)
    )
    return Forecast(name, days, float(expected_counts.sum()), back_test)


def _models() -> dict[str, Model]:
    models: dict[str, Model] = {"as a week before": _repeat_last_week}
    for alpha in _SMOOTHING:
        models[f"level ({alpha:g})"] = _Level(alpha, trend=False)
        models[f"level ({alpha:g}) and trend"] = _Level(alpha, trend=True)
    return models


def _repeat_last_week(counts: Floats, horizon: int) -> Floats:
    return np.resize(counts[-_WEEK:], horizon)


@dataclass(frozen=True, slots=True)
class _Level:
    """Model of a level times the day of the week; `alpha`: weight of the latest day; `trend`:
    whether it has a damped trend."""

    alpha: float
    trend: bool

    def __call__(self, counts: Floats, horizon: int) -> Floats:
        factors = _weekday_factors(counts)
        weekday = np.arange(len(counts)) % _WEEK
        base_counts = counts / factors[weekday]
        age = np.arange(len(counts))[::-1]
        weights = (1 - self.alpha) ** age
        level = float((base_counts * weights).sum() / weights.sum())
        horizons = np.arange(1, horizon + 1)
        growth = _growth(base_counts) if self.trend else 0.0
        log_growth = growth * np.cumsum(_DAMPING**horizons)
        later_weekday = (len(counts) - 1 + horizons) % _WEEK
        expected: Floats = level * np.exp(log_growth) * factors[later_weekday]
        return expected


def _weekday_factors(counts: Floats) -> Floats:
    """Return the weekday factors, shrunk towards 1 where events are few."""
    is_recent = np.arange(len(counts)) >= len(counts) - _WEEKDAY_WEEKS * _WEEK
    weekday = np.arange(len(counts)) % _WEEK
    mean = counts[is_recent].mean()
    sums = np.array([counts[is_recent & (weekday == day)].sum() for day in range(_WEEK)])
    days = np.array([(is_recent & (weekday == day)).sum() for day in range(_WEEK)])
    factors: Floats = (sums + _SHRINKAGE) / (days * mean + _SHRINKAGE)
    return factors


def _growth(base_counts: Floats) -> float:
    """Return the daily growth (of the logarithm) from the fortnight before the last one to the
    last, within ± 5 %."""
    half = _TREND_DAYS // 2
    latest_sum, earlier_sum = (
        base_counts[-half:].sum() + 1,
        base_counts[-_TREND_DAYS:-half].sum() + 1,
    )
    return float(np.clip(np.log(latest_sum / earlier_sum) / half, -0.05, 0.05))


def _error(model: Model, counts: Floats, origins: Sequence[int]) -> float:
    errors = [
        np.abs(model(counts[:origin], HORIZON) - counts[origin : origin + HORIZON])
        for origin in origins
    ]
    return float(np.concatenate(errors).mean())


def _relative_errors(model: Model, counts: Floats, origins: Sequence[int]) -> Floats:
    errors = []
    for origin in origins:
        expected = model(counts[:origin], HORIZON)
        errors.append(np.abs(expected - counts[origin : origin + HORIZON]) / _scale(expected))
    return np.concatenate(errors)


def _reach(errors: Floats) -> float:
    """Return the quantile of errors that covers the next error with 90 % (split conformal)."""
    level = min(_COVERAGE * (1 + 1 / len(errors)), 1.0)
    return float(np.quantile(errors, level, method="higher"))


def _scale(expected: Floats | float) -> Floats:
    return np.sqrt(np.maximum(expected, 1.0))
