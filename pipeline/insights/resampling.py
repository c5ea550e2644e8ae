"""Intervals by bootstrap: customers are drawn with replacement and the model is fitted again."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy import sparse

from pipeline.insights.attribution import Fit, Interval
from pipeline.insights.paths import Floats, PathCounts
from pipeline.insights.shapley import NoWorthError

CONFIDENCE: Final = 0.95
_MAX_WORK: Final = 100_000_000
"""Most operations of all fits together, which take some ten seconds."""

_MIN_REPLICATES: Final = 40
"""Fewest replicates of an interval."""


@dataclass(frozen=True, slots=True, eq=False)
class Customers:
    """Customers grouped by equal paths and outcomes: `counts` of each group, and for each group a
    row with the numbers of conversions and nulls of one of its customers, by path."""

    counts: Floats
    conversions: Any
    nulls: Any

    @staticmethod
    def of_paths(paths: PathCounts) -> "Customers":
        """Return a customer for each occurrence of a path, for paths without customers."""
        size = len(paths.conversions)
        identity, none = sparse.eye_array(size, format="csr"), sparse.csr_array((size, size))
        return Customers(
            np.concatenate((paths.conversions, paths.nulls)),
            sparse.vstack((identity, none)).tocsr(),
            sparse.vstack((none, identity)).tocsr(),
        )


def affordable_replicates(replicate_count: int, fit: Fit) -> int:
    """Return the number of replicates that the limit of work allows; 0 if that is too few."""
    draws = min(replicate_count, _MAX_WORK // max(fit.effort, 1))
    return draws if draws >= min(replicate_count, _MIN_REPLICATES) else 0


def bootstrap(
    paths: PathCounts, customers: Customers, fit: Fit, replicate_count: int, seed: int
) -> Interval | None:
    """Return the central 95 % of each channel's conversions over the replicates.

    None: there are fewer than two customers, counts are not whole numbers, or a draw has no worth
    to divide.
    """
    total = customers.counts.sum()
    are_whole = bool((customers.counts == np.floor(customers.counts)).all())
    if replicate_count < 1 or total < 2 or not are_whole:
        return None
    chance = np.random.default_rng(seed)
    probabilities = customers.counts / total
    draws = np.empty((replicate_count, len(paths.channels)))
    for replicate in range(replicate_count):
        counts = chance.multinomial(int(total), probabilities).astype(np.float64)
        sample = paths.reweight(counts @ customers.conversions, counts @ customers.nulls)
        try:
            draws[replicate] = fit.credit(sample).conversions
        except NoWorthError:
            return None
    return _percentiles(draws)


def _percentiles(draws: Floats) -> Interval:
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(draws, (tail, 1.0 - tail), axis=0)
    return Interval(low, high)
