"""Intervals of 95 % for shares and for differences, from sums by customer.

A share of messages is clustered: a customer's messages are alike. Its effective sample size is the
number of independent messages with the same variance (the linearised variance of a ratio), and
Wilson's interval uses that number.

A difference between two randomised arms has a confidence sequence: with a probability of 95 % it
contains the truth at every sample size at once, so it may be examined every day. It is the
asymptotic one of Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas (2021, "Time-uniform central limit
theory"), here for the difference of two means, and begins once there are `FEWEST` customers and
`FEWEST_EVENTS` conversions and failures in each arm.
"""

from dataclasses import dataclass
from math import log, sqrt
from statistics import NormalDist
from typing import Final

_Z_95: Final = NormalDist().inv_cdf(0.975)
_ALPHA: Final = 0.05
_TIGHTEST_AT: Final = 1_000.0
"""Number of customers at which the sequence is tightest; fixed, because it must not depend on the
data."""

_RHO_SQUARED: Final = (-2 * log(_ALPHA) + log(-2 * log(_ALPHA) + 1)) / _TIGHTEST_AT

FEWEST: Final = 30
FEWEST_EVENTS: Final = 5


@dataclass(frozen=True, slots=True)
class RateInterval:
    """Rate: `share` = `events` / `of`; None where there is nothing to divide by."""

    events: int
    of: int
    share: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class ClusterSums:
    """Sums over customers of their events x and trials n, and of the products."""

    customers: int
    events: int
    trials: int
    events_squared: float
    trials_squared: float
    products: float


def rate(sums: ClusterSums) -> RateInterval:
    """Return the share with its interval."""
    if sums.trials <= 0:
        return RateInterval(sums.events, 0, None, None, None)
    share = sums.events / sums.trials
    low, high = wilson(share, _effective_trials(share, sums))
    return RateInterval(sums.events, sums.trials, share, low, high)


def wilson(share: float, trials: float) -> tuple[float, float]:
    """Return Wilson's interval for a share of `trials`, which need not be whole."""
    z2 = _Z_95**2
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    reach = _Z_95 * sqrt(share * (1 - share) / trials + z2 / (4 * trials**2)) / (1 + z2 / trials)
    return min(max(centre - reach, 0.0), share), max(min(centre + reach, 1.0), share)


def _effective_trials(share: float, sums: ClusterSums) -> float:
    """Return the effective number of independent trials; at shares of 0 and 1 the number of
    customers."""
    if sums.customers < 2 or share in (0.0, 1.0):
        return float(max(sums.customers, 1))
    squares = sums.events_squared - 2 * share * sums.products + share * share * sums.trials_squared
    variance = max(squares, 0.0) / sums.trials**2 * sums.customers / (sums.customers - 1)
    if variance <= 0:
        return float(sums.trials)
    return max(min(share * (1 - share) / variance, float(sums.trials)), 1.0)


@dataclass(frozen=True, slots=True)
class ArmSums:
    """Customers of an arm, the number who converted, and the sums of their value and of its
    square."""

    customers: int
    converted: int
    value: float
    value_squared: float


@dataclass(frozen=True, slots=True)
class Difference:
    """Difference of means with its confidence sequence, None where the data are too few."""

    value: float
    low: float | None
    high: float | None


def conversion_difference(treated: ArmSums, held: ArmSums) -> Difference | None:
    """Return the difference in the share of converted customers; None without both arms."""
    if not (treated.customers and held.customers):
        return None
    value = treated.converted / treated.customers - held.converted / held.customers
    variances = (_share_variance(treated), _share_variance(held))
    return _sequence(value, (treated, held), variances)


def value_difference(treated: ArmSums, held: ArmSums) -> Difference | None:
    """Return the difference in value for each customer; None without both arms."""
    if not (treated.customers and held.customers):
        return None
    value = treated.value / treated.customers - held.value / held.customers
    variances = (_value_variance(treated), _value_variance(held))
    return _sequence(value, (treated, held), variances)


def _sequence(
    value: float, arms: tuple[ArmSums, ArmSums], variances: tuple[float, float]
) -> Difference:
    if not all(map(_is_enough, arms)):
        return Difference(value, None, None)
    treated, held = arms
    n = float(treated.customers + held.customers)
    sigma = sqrt(n * (variances[0] / treated.customers + variances[1] / held.customers))
    scaled = n * _RHO_SQUARED + 1
    reach = sigma * sqrt(2 * scaled / (n * n * _RHO_SQUARED) * log(sqrt(scaled) / _ALPHA))
    return Difference(value, value - reach, value + reach)


def _is_enough(arm: ArmSums) -> bool:
    failed = arm.customers - arm.converted
    return arm.customers >= FEWEST and min(arm.converted, failed) >= FEWEST_EVENTS


def _share_variance(arm: ArmSums) -> float:
    """Return p(1 − p) with one more conversion and one more failure, so that few events give no
    false certainty (Agresti & Caffo)."""
    share = (arm.converted + 1) / (arm.customers + 2)
    return share * (1 - share)


def _value_variance(arm: ArmSums) -> float:
    mean = arm.value / arm.customers
    return max(arm.value_squared / arm.customers - mean * mean, 0.0)
