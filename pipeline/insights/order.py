"""Order of a Markov model, chosen by cross-validated likelihood."""

from typing import Final

import numpy as np

from pipeline.insights.markov import ORDERS, number_windows
from pipeline.insights.paths import Floats, Ints, PathCounts
from pipeline.insights.ranking import rank_key

_FOLDS: Final = 5
_SHORTER_WEIGHT: Final = 1.0
"""Weight of the shorter window's likelihood, as a number of observations."""


def choose_order(paths: PathCounts, seed: int) -> int:
    """Return the order with the highest likelihood of the next step (a channel, a conversion, an
    end without one) in five-fold cross-validation over journeys; among equal ones the lowest."""
    scores = order_scores(paths, seed)
    return max(scores, key=lambda order: (rank_key(scores[order]), -order))


def order_scores(paths: PathCounts, seed: int) -> dict[int, float]:
    """Return the mean log-likelihood of a held-out step by order; rare windows are smoothed towards
    the next shorter one."""
    steps = _Steps(paths)
    folds = _split(paths, seed)
    scores = dict.fromkeys(ORDERS, 0.0)
    for held_out in range(_FOLDS):
        training_counts = folds.sum(axis=0) - folds[held_out]
        for order, likelihood in steps.likelihoods(training_counts):
            scores[order] += float(steps.weights(folds[held_out]) @ np.log(likelihood))
    total = float(steps.weights(folds.sum(axis=0)).sum()) or 1.0
    return {order: score / total for order, score in scores.items()}


def _split(paths: PathCounts, seed: int) -> Floats:
    """Deal each path's conversions and nulls to the folds: fold × (conversions, nulls)."""
    counts = np.concatenate((paths.conversions, paths.nulls))
    chance = np.random.default_rng(seed)
    parts = [1.0 / _FOLDS] * _FOLDS
    return chance.multinomial(np.ceil(counts).astype(np.int64), parts).T.astype(np.float64)


class _Steps:
    """Every step of every path, with the windows of each length before it."""

    def __init__(self, paths: PathCounts) -> None:
        self._owners = paths.owners
        self._paths = len(paths.conversions)
        channels = len(paths.channels)
        with_touch = np.flatnonzero(paths.lengths > 0)
        ends = paths.offsets[1:][with_touch] - 1
        inner = np.flatnonzero(self._owners[1:] == self._owners[:-1])
        places = np.arange(len(paths.codes)) - paths.offsets[:-1][self._owners]
        self._inner, self._ends = inner, with_touch
        self._next = np.concatenate(
            (
                paths.codes[inner + 1],
                np.full(len(ends), channels),
                np.full(len(ends), channels + 1),
            )
        )
        self._symbols = channels + 2
        at = np.concatenate((inner, ends, ends))
        self._windows = {
            order: number_windows(paths.codes + 1, places, order)[at] for order in ORDERS
        }

    def weights(self, counts: Floats) -> Floats:
        """Return the number of times that each step was taken, for paths with these `counts`."""
        conversions, nulls = counts[: self._paths], counts[self._paths :]
        inner_weights = (conversions + nulls)[self._owners[self._inner]]
        return np.concatenate((inner_weights, conversions[self._ends], nulls[self._ends]))

    def likelihoods(self, training_counts: Floats) -> "list[tuple[int, Floats]]":
        """Return the likelihood of each step, by order, estimated from these counts."""
        weights = self.weights(training_counts)
        shorter = self._blend(np.zeros_like(self._next), weights, 1.0 / self._symbols)
        orders = []
        for order in ORDERS:
            shorter = self._blend(self._windows[order], weights, shorter)
            orders.append((order, shorter))
        return orders

    def _blend(self, window: Ints, weights: Floats, shorter: Floats | float) -> Floats:
        step = np.unique(window * self._symbols + self._next, return_inverse=True)[1]
        step_weights = np.bincount(step, weights)[step]
        window_weights = np.bincount(window, weights)[window]
        likelihood: Floats = (step_weights + _SHORTER_WEIGHT * shorter) / (
            window_weights + _SHORTER_WEIGHT
        )
        return likelihood
