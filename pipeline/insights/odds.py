"""Odds ratios of two-by-two tables, corrected for many tests.

Ratio and interval (95 %) are by Haldane and Anscombe: a half is added to each count, so that they
are finite where a count is 0. `p` is Fisher's exact, two-sided; `q` is p after Benjamini and
Hochberg: among those with q below 5 %, at most 5 % are expected to be by chance.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, sqrt
from statistics import NormalDist
from typing import Final

from scipy import stats

_Z_95: Final = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True)
class TwoByTwo:
    """Cases with a property (`exposed`) and without it (`others`), and the cases of each group
    with the outcome."""

    exposed: int
    exposed_outcomes: int
    others: int
    other_outcomes: int

    @property
    def is_informative(self) -> bool:
        """Whether both the property and the outcome differ between cases."""
        outcomes = self.exposed_outcomes + self.other_outcomes
        return bool(self.exposed and self.others) and 0 < outcomes < self.exposed + self.others


@dataclass(frozen=True, slots=True)
class OddsRatio:
    """Odds of the outcome with the property over those without it."""

    table: TwoByTwo
    odds_ratio: float
    low: float
    high: float
    p: float
    q: float


def odds_ratios(tables: Sequence[TwoByTwo]) -> list[OddsRatio]:
    """Return the odds ratio of each table, corrected for all of them together."""
    if not tables:
        return []
    p_values = [float(stats.fisher_exact(_counts(table)).pvalue) for table in tables]
    q_values = stats.false_discovery_control([min(p_value, 1.0) for p_value in p_values])
    return [
        _odds_ratio(table, p_value, float(false_discovery_rate))
        for table, p_value, false_discovery_rate in zip(tables, p_values, q_values, strict=True)
    ]


def _counts(table: TwoByTwo) -> list[list[int]]:
    return [
        [table.exposed_outcomes, table.exposed - table.exposed_outcomes],
        [table.other_outcomes, table.others - table.other_outcomes],
    ]


def _odds_ratio(table: TwoByTwo, p: float, q: float) -> OddsRatio:
    (a, b), (c, d) = ([count + 0.5 for count in row] for row in _counts(table))
    log_ratio = log(a * d / (b * c))
    reach = _Z_95 * sqrt(1 / a + 1 / b + 1 / c + 1 / d)
    return OddsRatio(table, exp(log_ratio), exp(log_ratio - reach), exp(log_ratio + reach), p, q)
