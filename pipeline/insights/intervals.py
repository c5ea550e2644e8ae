"""Intervals of 95 % for shares and for differences, from sums by customer.

Messages are clustered, because the messages of one customer have similar results. The effective
sample size of a share is the number of independent messages with the same variance (the linearised
variance of a ratio), and Wilson's interval uses that number.

A difference between two randomised arms has a confidence sequence: with a probability of 95 % it
contains the truth at every sample size at once, so it may be examined every day. It is the
asymptotic one of Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas (2021, "Time-uniform central limit
theory"), applied to the difference of two means. It begins once each arm has `MIN_CUSTOMERS`
customers, and `MIN_EVENTS` each of conversions and failures.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import log, sqrt
from statistics import NormalDist
from typing import Final, TypeAlias

_Z_95: Final = NormalDist().inv_cdf(0.975)
_ALPHA: Final = 0.05
_TIGHTEST_SIZE: Final = 1_000.0
"""Number of customers at which the sequence is tightest; fixed, because it must not depend on the
data."""

_SQUARED_RHO: Final = (-2 * log(_ALPHA) + log(-2 * log(_ALPHA) + 1)) / _TIGHTEST_SIZE

MIN_CUSTOMERS: Final = 30
MIN_EVENTS: Final = 5


@dataclass(frozen=True, slots=True)
class RateInterval:
    """Rate with its interval: `share` = `events` / `of`, None where `of` is 0."""

    events: int
    of: int
    share: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class ClusterSums:
    """Sums over customers of their events x and trials n, of the squares of x and of n, and of
    their products."""

    customers: int
    events: int
    trials: int
    event_squares: float
    trial_squares: float
    products: float


def rate(sums: ClusterSums) -> RateInterval:
    """Return the share with its interval."""
    if sums.trials <= 0:
        return RateInterval(sums.events, 0, None, None, None)
    share = sums.events / sums.trials
    low, high = wilson(share, _effective_trials(share, sums))
    return RateInterval(sums.events, sums.trials, share, low, high)


def wilson(share: float, trials: float) -> tuple[float, float]:
    """Return Wilson's interval for a share of `trials`, which need not be a whole number."""
    z2 = _Z_95**2
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    reach = _Z_95 * sqrt(share * (1 - share) / trials + z2 / (4 * trials**2)) / (1 + z2 / trials)
    return min(max(centre - reach, 0.0), share), max(min(centre + reach, 1.0), share)


def _effective_trials(share: float, sums: ClusterSums) -> float:
    """Return the effective number of independent trials; at shares of 0 and 1 the number of
    customers."""
    if sums.customers < 2 or share in (0.0, 1.0):
        return float(max(sums.customers, 1))
    squares = sums.event_squares - 2 * share * sums.products + share * share * sums.trial_squares
    variance = max(squares, 0.0) / sums.trials**2 * sums.customers / (sums.customers - 1)
    if variance <= 0:
        return float(sums.trials)
    return max(min(share * (1 - share) / variance, float(sums.trials)), 1.0)


@dataclass(frozen=True, slots=True)
class ArmSums:
    """Sums over the customers of an arm: `conversions`, the number of customers who converted,
    and the sums of the customers' values and of the squares of these values."""

    customers: int
    conversions: int
    value: float
    value_squares: float


_Statistic: TypeAlias = Callable[[ArmSums], float]


@dataclass(frozen=True, slots=True)
class Difference:
    """Difference of means with its confidence sequence, None where the data are too few."""

    value: float
    low: float | None
    high: float | None


def conversion_difference(arm: ArmSums, other: ArmSums) -> Difference | None:
    """Return by how much the share of converted customers is higher in `arm`; None if an arm has no
    customers."""
    return _difference(arm, other, lambda sums: sums.conversions / sums.customers, _share_variance)


def value_difference(arm: ArmSums, other: ArmSums) -> Difference | None:
    """Return by how much the value per customer is higher in `arm`; None if an arm has no
    customers."""
    return _difference(arm, other, lambda sums: sums.value / sums.customers, _value_variance)


def _difference(
    arm: ArmSums, other: ArmSums, mean: _Statistic, variance: _Statistic
) -> Difference | None:
    if not (arm.customers and other.customers):
        return None
    value = mean(arm) - mean(other)
    if not (_has_enough(arm) and _has_enough(other)):
        return Difference(value, None, None)
    n = float(arm.customers + other.customers)
    sigma = sqrt(n * (variance(arm) / arm.customers + variance(other) / other.customers))
    scale = n * _SQUARED_RHO + 1
    reach = sigma * sqrt(2 * scale / (n * n * _SQUARED_RHO) * log(sqrt(scale) / _ALPHA))
    return Difference(value, value - reach, value + reach)


def _has_enough(arm: ArmSums) -> bool:
    failures = arm.customers - arm.conversions
    return arm.customers >= MIN_CUSTOMERS and min(arm.conversions, failures) >= MIN_EVENTS


def _share_variance(arm: ArmSums) -> float:
    """Return p(1 − p) with one more conversion and one more failure, so that few events give no
    false certainty (Agresti & Caffo)."""
    share = (arm.conversions + 1) / (arm.customers + 2)
    return share * (1 - share)


def _value_variance(arm: ArmSums) -> float:
    mean = arm.value / arm.customers
    return max(arm.value_squares / arm.customers - mean * mean, 0.0)
