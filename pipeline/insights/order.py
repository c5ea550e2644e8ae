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
    generator = np.random.default_rng(seed)
    parts = [1.0 / _FOLDS] * _FOLDS
    return generator.multinomial(np.ceil(counts).astype(np.int64), parts).T.astype(np.float64)


class _Steps:
    """Every step of every path, with the windows of each length before it."""

    def __init__(self, paths: PathCounts) -> None:
        self._owners = paths.owners
        self._path_count = len(paths.conversions)
        channels = len(paths.channels)
        touched_paths = np.flatnonzero(paths.lengths > 0)
        ends = paths.offsets[1:][touched_paths] - 1
        inner = np.flatnonzero(self._owners[1:] == self._owners[:-1])
        places = np.arange(len(paths.codes)) - paths.offsets[:-1][self._owners]
        self._inner_positions, self._touched_paths = inner, touched_paths
        self._next_symbols = np.concatenate(
            (
                paths.codes[inner + 1],
                np.full(len(ends), channels),
                np.full(len(ends), channels + 1),
            )
        )
        self._symbol_count = channels + 2
        positions = np.concatenate((inner, ends, ends))
        self._windows = {
            order: number_windows(paths.codes + 1, places, order)[positions] for order in ORDERS
        }

    def weights(self, counts: Floats) -> Floats:
        """Return the number of times that each step was taken, for paths with these `counts`."""
        conversions, nulls = counts[: self._path_count], counts[self._path_count :]
        inner_weights = (conversions + nulls)[self._owners[self._inner_positions]]
        return np.concatenate(
            (inner_weights, conversions[self._touched_paths], nulls[self._touched_paths])
        )

    def likelihoods(self, training_counts: Floats) -> "list[tuple[int, Floats]]":
        """Return the likelihood of each step, by order, estimated from these counts."""
        weights = self.weights(training_counts)
        shorter_likelihood = self._blend(
            np.zeros_like(self._next_symbols), weights, 1.0 / self._symbol_count
        )
        orders = []
        for order in ORDERS:
            shorter_likelihood = self._blend(self._windows[order], weights, shorter_likelihood)
            orders.append((order, shorter_likelihood))
        return orders

    def _blend(self, window: Ints, weights: Floats, shorter_likelihood: Floats | float) -> Floats:
        step = np.unique(window * self._symbol_count + self._next_symbols, return_inverse=True)[1]
        step_weights = np.bincount(step, weights)[step]
        window_weights = np.bincount(window, weights)[window]
        likelihood: Floats = (step_weights + _SHORTER_WEIGHT * shorter_likelihood) / (
            window_weights + _SHORTER_WEIGHT
        )
        return likelihood
