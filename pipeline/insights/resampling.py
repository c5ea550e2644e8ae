"""Intervals by bootstrap: customers are drawn with replacement and the model is fitted again."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy import sparse

from pipeline.insights.attribution import Fit, Interval
from pipeline.insights.paths import Floats, PathCounts
from pipeline.insights.shapley import NoWorthError

CONFIDENCE: Final = 0.95
_MOST_WORK: Final = 100_000_000
"""Most steps of all fits together, some ten seconds; with too few replicates there is no
interval."""

_FEWEST: Final = 40


@dataclass(frozen=True, slots=True, eq=False)
class Customers:
    """Customers who had the same paths and outcomes: `counts` of them, and for each such kind a row
    of its numbers of conversions and nulls by path."""

    counts: Floats
    conversions: Any
    nulls: Any

    @staticmethod
    def of_paths(paths: PathCounts) -> "Customers":
        """Treat each path as a customer, where customers are not known."""
        size = len(paths.conversions)
        identity, none = sparse.eye_array(size, format="csr"), sparse.csr_array((size, size))
        return Customers(
            np.concatenate((paths.conversions, paths.nulls)),
            sparse.vstack((identity, none)).tocsr(),
            sparse.vstack((none, identity)).tocsr(),
        )


def affordable(replicates: int, fit: Fit) -> int:
    """Return the number of replicates: fewer if each takes long, none if those are too few."""
    drawn = min(replicates, _MOST_WORK // max(fit.effort, 1))
    return drawn if drawn >= min(replicates, _FEWEST) else 0


def bootstrap(
    paths: PathCounts, customers: Customers, fit: Fit, replicates: int, seed: int
) -> Interval | None:
    """Return 95 % of each channel's conversions over the replicates; None without enough to draw
    from: fewer than two customers, counts that are no whole numbers, or draws without any worth to
    divide."""
    total = customers.counts.sum()
    whole = bool((customers.counts == np.floor(customers.counts)).all())
    if replicates < 1 or total < 2 or not whole:
        return None
    chance = np.random.default_rng(seed)
    probabilities = customers.counts / total
    drawn = np.empty((replicates, len(paths.channels)))
    for replicate in range(replicates):
        counts = chance.multinomial(int(total), probabilities).astype(np.float64)
        seen = paths.reweight(counts @ customers.conversions, counts @ customers.nulls)
        try:
            drawn[replicate] = fit.credit(seen).conversions
        except NoWorthError:
            return None
    return _percentiles(drawn)


def _percentiles(drawn: Floats) -> Interval:
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(drawn, (tail, 1.0 - tail), axis=0)
    return Interval(low, high)
