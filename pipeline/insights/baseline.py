"""Expected course of a daily series: a slow trend and the days of the week.

Counts follow a Poisson regression, shares a logistic one, both with overdispersion where the data
show it. They are fitted by iteratively reweighted least squares with a small penalty, so that few
data give a flat line with finite values.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from pipeline.insights.daily import DailySeries
from pipeline.insights.paths import Floats

Mask = npt.NDArray[np.bool_]

_KNOT_DAYS: Final = 42
"""Days between knots of the trend of counts; shares have a straight line."""

_MIN_WEEKDAY_DAYS: Final = 21
_MAX_ROUNDS: Final = 30
_MAX_HALVINGS: Final = 20
"""Most halvings of a step that would lower the likelihood, as it may where a series is 0 for
long."""

_MAX_ETA: Final = 30.0
"""Greatest absolute value of the linear predictor, so that its exponential is finite."""

_TREND_PENALTY: Final = 0.05
_WEEKDAY_PENALTY: Final = 1.0
_MIN_STEADY_TRIALS: Final = 500.0
"""Fewest trials of a share that gets weekday factors."""


@dataclass(frozen=True, slots=True, eq=False)
class Baseline:
    """Expectation of each day, and its variance, `dispersion` included.

    `weekdays`: factor of each day of the week relative to their mean (1: equal), Monday first.
    """

    expected: Floats
    variance: Floats
    dispersion: float
    weekdays: tuple[float, ...]


def fit(series: DailySeries, days: Mask) -> Baseline:
    """Return the baseline of all days, fitted to those in the mask `days`."""
    design, penalty = _design(series)
    beta = _fit(series, days, design, penalty)
    mean = _mean(series, design, beta)
    trials = np.ones(series.day_count) if series.trials is None else series.trials
    expected = mean * trials
    variance = expected if series.trials is None else expected * (1 - mean)
    variance = np.maximum(variance, 1e-9)
    usable_days = days & (trials > 0)
    dispersion = _dispersion(series.counts - expected, variance, usable_days, design.shape[1])
    return Baseline(expected, variance * dispersion, dispersion, _weekdays(design, beta))


def refit_dispersion(series: DailySeries, baseline: Baseline, days: Mask) -> Baseline:
    """Return the baseline with its dispersion estimated from the days in the mask `days` only."""
    usable_days = days if series.trials is None else days & (series.trials > 0)
    variance = baseline.variance / baseline.dispersion
    dispersion = _dispersion(series.counts - baseline.expected, variance, usable_days, 1)
    return replace(baseline, variance=variance * dispersion, dispersion=dispersion)


def _dispersion(
    residual: Floats, variance: Floats, usable_days: Mask, parameter_count: int
) -> float:
    """Return the mean square of Pearson's residuals, at least 1."""
    squares = residual[usable_days] ** 2 / np.maximum(variance[usable_days], 0.05)
    return max(float(squares.sum()) / max(int(usable_days.sum()) - parameter_count, 1), 1.0)


def _design(series: DailySeries) -> tuple[Floats, Floats]:
    """Return the columns (1, the trend as hinges for counts or a line for shares, the weekdays),
    and the penalty of each."""
    day = np.arange(series.day_count, dtype=np.float64)
    scale = max(series.day_count, 1)
    columns = [np.ones(series.day_count), day / scale - 0.5]
    if series.trials is None:
        knots = np.arange(_KNOT_DAYS, series.day_count - _KNOT_DAYS / 2, _KNOT_DAYS)
        columns += [np.maximum(day - knot, 0.0) / scale for knot in knots]
    penalty = [1e-6, *(_TREND_PENALTY,) * (len(columns) - 1)]
    if series.day_count >= _MIN_WEEKDAY_DAYS and _is_steady(series):
        weekday = (series.first_day + 3 + np.arange(series.day_count)) % 7  # 1970-01-01: a Thursday
        columns += [(weekday == day).astype(np.float64) - (weekday == 6) for day in range(6)]
        penalty += [_WEEKDAY_PENALTY] * 6
    return np.column_stack(columns), np.array(penalty)


def _is_steady(series: DailySeries) -> bool:
    return series.trials is None or float(series.trials.sum()) >= _MIN_STEADY_TRIALS


def _fit(series: DailySeries, days: Mask, design: Floats, penalty: Floats) -> Floats:
    beta = np.zeros(design.shape[1])
    beta[0] = _initial_intercept(series, days)
    best_likelihood = _likelihood(series, days, design, penalty, beta)
    for _ in range(_MAX_ROUNDS):
        eta = np.clip(design @ beta, -_MAX_ETA, _MAX_ETA)
        if series.trials is None:
            mean = np.exp(eta)
            weight, residual = mean, series.counts - mean
        else:
            share = 1 / (1 + np.exp(-eta))
            weight = series.trials * share * (1 - share)
            residual = series.counts - series.trials * share
        weight = np.where(days, weight, 0.0)
        gradient = design.T @ np.where(days, residual, 0.0) - penalty * beta
        gradient[0] += penalty[0] * beta[0]
        step = np.linalg.solve(design.T @ (design * weight[:, None]) + np.diag(penalty), gradient)
        for _ in range(_MAX_HALVINGS):
            likelihood = _likelihood(series, days, design, penalty, beta + step)
            if likelihood >= best_likelihood:
                break
            step = step / 2
        else:
            return beta
        beta, best_likelihood = beta + step, likelihood
        if float(np.abs(step).max()) < 1e-8:
            break
    return beta


def _likelihood(
    series: DailySeries, days: Mask, design: Floats, penalty: Floats, beta: Floats
) -> float:
    """Return the logarithm of the likelihood, less the penalty, up to a constant."""
    eta = np.clip(design @ beta, -_MAX_ETA, _MAX_ETA)
    if series.trials is None:
        terms = series.counts * eta - np.exp(eta)
    else:
        terms = series.counts * eta - series.trials * np.logaddexp(0.0, eta)
    return float(terms[days].sum() - (penalty[1:] * beta[1:] ** 2).sum() / 2)


def _initial_intercept(series: DailySeries, days: Mask) -> float:
    if series.trials is None:
        return float(np.log(series.counts[days].mean() + 0.01)) if days.any() else 0.0
    hits, trials = float(series.counts[days].sum()), float(series.trials[days].sum())
    return float(np.log((hits + 0.5) / (trials - hits + 0.5)))


def _mean(series: DailySeries, design: Floats, beta: Floats) -> Floats:
    eta = np.clip(design @ beta, -_MAX_ETA, _MAX_ETA)
    return np.exp(eta) if series.trials is None else 1 / (1 + np.exp(-eta))


def _weekdays(design: Floats, beta: Floats) -> tuple[float, ...]:
    """Return the factors of weekdays: on counts, or on the odds of shares."""
    if design.shape[1] < 8 or float(np.abs(design[:, -6:]).max(initial=0.0)) > 1:
        return (1.0,) * 7
    logs = beta[-6:]
    return (*(float(np.exp(factor)) for factor in logs), float(np.exp(-logs.sum())))
