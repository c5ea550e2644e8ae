"""Off-policy evaluation: mean reward of a target policy, estimated from the decisions that another
policy logged.

Three estimates of the mean reward: inverse propensity scores (IPS), self-normalised (SNIPS), and
doubly robust (DR), which corrects a model's rewards by its weighted errors.

Intervals at 95 %: by default from the estimates' standard errors (for SNIPS by the delta method)
with Student's t, which is valid for large n and bounded weights; clustered by customer if the log
names customers. `anytime` intervals hold for every n at once, for rewards within given bounds and
weights of any size (Karampatziakis, Mineiro & Ramdas 2021: a bet against each value that is too
high, whose capital is a non-negative martingale).
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

import numpy as np
from scipy.special import stdtrit

from pipeline.insights.engines import Queries
from pipeline.insights.paths import Floats, Ints, sum_by
from pipeline.insights.tables import Column, TableError

IntervalMethod: TypeAlias = Literal["asymptotic", "anytime"]

CONFIDENCE: Final = 0.95
_SIDE: Final = (1.0 - CONFIDENCE) / 2.0
_ROUNDING: Final = 1e-12
_BISECTIONS: Final = 60
_GREATEST_LOSS: Final = 0.5
"""Greatest share of the capital that a bet may lose in one step."""


_COLUMNS: Final = (
    Column("reward", "number"),
    Column("propensity", "share", above_zero=True),
    Column("target_propensity", "share"),
    Column("q_logged", "number", required=False),
    Column("q_target", "number", required=False),
)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Least and greatest possible reward."""

    low: float = 0.0
    high: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Log:
    """Logged decisions, one entry each; `weights` = target ÷ logged propensity; `customers`: the
    decision's customer, numbered from 0 (None: a different one each time)."""

    rewards: Floats
    weights: Floats
    q_logged: Floats | None = None
    q_target: Floats | None = None
    customers: Ints | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """Estimate of a mean, or of a sum, with its interval; None where the log has too few data."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class OffPolicy:
    """Three estimates of a policy's mean reward. `ess`: effective sample size, the number of equal
    weights with the same variance."""

    n: int
    ess: float
    ips: Estimate
    snips: Estimate
    dr: Estimate | None


def read_log(queries: Queries, file: Path) -> Log:
    """Read a table of logged decisions. Raises TableError."""
    table = queries.open_table(file, _COLUMNS, ordered=False)
    if not table.rows:
        raise TableError(f"{file}: has no rows")
    model_columns = {"q_logged", "q_target"} & table.file_columns
    if len(model_columns) == 1:
        (present_column,), (missing_column,) = (
            model_columns,
            {"q_logged", "q_target"} - model_columns,
        )
        raise TableError(
            f"{file}: has no column {missing_column!r}, which DR needs beside {present_column!r}"
        )
    rows = queries.arrow(f"SELECT * FROM {table.name}")

    def column(name: str) -> Floats:
        return np.array(rows.column(name).to_numpy(), dtype=np.float64)

    with np.errstate(over="ignore"):
        weights = column("target_propensity") / column("propensity")
        squares = float(((weights * np.maximum(np.abs(column("reward")), 1.0)) ** 2).sum())
    if not np.isfinite(squares):
        raise TableError(f"{file}: propensity: so small, beside reward, that weights overflow")
    return Log(
        rewards=column("reward"),
        weights=weights,
        q_logged=column("q_logged") if model_columns else None,
        q_target=column("q_target") if model_columns else None,
    )


def evaluate(log: Log, reward_bounds: Bounds | None = None) -> OffPolicy:
    """Estimate the target policy's mean reward; `reward_bounds`: for anytime intervals; None:
    asymptotic ones.

    The anytime interval bounds the mean itself, so it holds for IPS and SNIPS alike; there is none
    for DR, whose terms have no sign. Raises ValueError when a reward is outside the bounds.
    """
    weights = log.weights
    squares = float(weights @ weights)
    ess = float(weights.sum()) ** 2 / squares if squares else 0.0
    ips, snips, dr = _estimate_ips(log), _estimate_snips(log), _estimate_dr(log)
    if reward_bounds is not None:
        low, high = anytime_interval(log, reward_bounds)
        ips = Estimate(ips.value, low, high)
        snips = Estimate(snips.value, low, high) if snips.value is not None else snips
        dr = Estimate(dr.value, None, None) if dr else None
    return OffPolicy(len(weights), ess, ips, snips, dr)


def _estimate_ips(log: Log) -> Estimate:
    return mean(log.weights * log.rewards, log.customers)


def _estimate_snips(log: Log) -> Estimate:
    total = log.weights.sum()
    if not total:
        return Estimate(None, None, None)
    value = float(log.weights @ log.rewards / total)
    influence = log.weights * (log.rewards - value) * len(log.weights) / total
    deviation = mean(influence, log.customers)
    if deviation.low is None or deviation.high is None:
        return Estimate(value, None, None)
    return Estimate(value, value + deviation.low, value + deviation.high)


def _estimate_dr(log: Log) -> Estimate | None:
    if log.q_logged is None or log.q_target is None:
        return None
    return mean(log.q_target + log.weights * (log.rewards - log.q_logged), log.customers)


def mean(terms: Floats, customers: Ints | None = None) -> Estimate:
    """Return the mean, with an interval if at least two terms differ; `customers`: number of each
    term's customer, whose terms are added up for the interval."""
    value = float(terms.mean())
    if len(terms) < 2 or not terms.std():
        return Estimate(value, None, None)
    deviations = terms - value
    if customers is not None:
        deviations = sum_by(customers, deviations, int(customers.max()) + 1)
    return estimate_mean(value, len(terms), float((deviations**2).sum()), len(deviations))


def estimate_mean(value: float, term_count: int, squares: float, customer_count: int) -> Estimate:
    """Return the mean `value` of terms with its interval, if any of the customers differ.

    `squares`: sum over customers of the squared difference between the sum of a customer's terms
    and its expectation.
    """
    if customer_count < 2 or squares <= term_count * (_ROUNDING * value) ** 2:
        return Estimate(value, None, None)
    error = math.sqrt(squares * customer_count / (customer_count - 1)) / term_count
    reach = float(stdtrit(customer_count - 1, 1.0 - _SIDE) * error)
    return Estimate(value, value - reach, value + reach)


def anytime_interval(log: Log, bounds: Bounds) -> tuple[float, float]:
    """Return bounds of the mean that hold at every n at once, with weights whose mean is 1.

    Raises ValueError when a reward is outside `bounds`.
    """
    spread = bounds.high - bounds.low
    if not 0 < spread < np.inf or log.rewards.min() < bounds.low or log.rewards.max() > bounds.high:
        raise ValueError(
            f"rewards go from {log.rewards.min():g} to {log.rewards.max():g}, which is not within "
            f"{bounds.low:g} to {bounds.high:g}"
        )
    scaled_rewards = (log.rewards - bounds.low) / spread
    low = _lower_bound(log.weights * scaled_rewards)
    high = 1.0 - _lower_bound(log.weights * (1.0 - scaled_rewards))
    return bounds.low + spread * low, bounds.low + spread * max(high, low)


def _lower_bound(terms: Floats) -> float:
    """Return the greatest mean below 1 that a bet on higher terms refutes.

    A bet stakes a share λ ≤ ½ / mean of its capital on term − mean, so it loses half of the capital
    at most. If the true mean is not higher, the capital ever reaches 1 ÷ `_SIDE` times its first
    value with a probability of at most `_SIDE`. Shares depend on earlier terms only.
    """
    stakes = _stakes(terms)
    threshold = np.log(1.0 / _SIDE)

    def is_refuted(mean: float) -> bool:
        share = np.minimum(stakes, _GREATEST_LOSS / mean)
        return bool(np.cumsum(np.log1p(share * (terms - mean))).max() >= threshold)

    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        candidate_mean = (low + high) / 2.0
        low, high = (candidate_mean, high) if is_refuted(candidate_mean) else (low, candidate_mean)
    return low


def _stakes(terms: Floats) -> Floats:
    """Return, for each term, the share to stake by the variance of the terms before it, as for an
    empirical Bernstein bound; without terms, the mean is taken to be ½ and the variance ¼."""
    counts = np.arange(1, len(terms) + 1)
    sums = np.concatenate(([0.0], np.cumsum(terms)[:-1]))
    squares = np.concatenate(([0.0], np.cumsum(terms**2)[:-1]))
    means = (sums + 0.5) / counts
    variances = np.maximum((squares + 0.5) / counts - means**2, 1e-6)
    stakes: Floats = np.sqrt(2.0 * np.log(1.0 / _SIDE) / (variances * counts * np.log1p(counts)))
    return stakes
