"""Credit by the set of channels of a path: Shapley values and Shao–Li."""

from dataclasses import dataclass
from math import comb
from typing import Final, Literal, TypeAlias

import numpy as np
from scipy import sparse

from pipeline.insights.markov import TooLargeError
from pipeline.insights.paths import Floats, Ints, PathCounts, sum_by

MAX_PLAYERS: Final = 12
_MAX_PAIRS: Final = 20_000_000

# Worth of a coalition: conversions of the paths within it, or the rate at which those convert.
Worth: TypeAlias = Literal["conversions", "rate"]


class NoWorthError(Exception):
    """Raised for a game with nothing to divide; the message gives the reason and a remedy."""


@dataclass(frozen=True, slots=True, eq=False)
class ChannelSets:
    """Distinct channels of each path: pairs of `path` and `channel`, sorted by path; `sizes`: the
    number of channels of each path."""

    path: Ints
    channel: Ints
    sizes: Ints

    @staticmethod
    def of(paths: PathCounts) -> "ChannelSets":
        shape = (len(paths.conversions), len(paths.channels))
        occurrences = np.ones(len(paths.codes))
        matrix = sparse.csr_array(
            (occurrences, paths.codes.copy(), paths.offsets.copy()), shape=shape
        )
        matrix.sum_duplicates()
        sizes = np.diff(matrix.indptr).astype(np.int64)
        path = np.repeat(np.arange(shape[0]), sizes)
        return ChannelSets(path, matrix.indices.astype(np.int64), sizes)


def simplified_shapley_shares(paths: PathCounts) -> tuple[ChannelSets, Floats]:
    """Return the distinct channels of each path and their shares of its credit, which are equal:
    the Shapley value of the game whose coalitions are worth the conversions of all paths within
    them (Zhao et al. 2018)."""
    sets = ChannelSets.of(paths)
    return sets, 1.0 / sets.sizes[sets.path]


def full_shapley_shares(paths: PathCounts, worth: Worth) -> tuple[Floats, Floats]:
    """Return the shares of each channel in conversions and in value by the full game, over all
    coalitions. Raises TooLargeError, NoWorthError."""
    player_count = len(paths.channels)
    if player_count > MAX_PLAYERS:
        raise TooLargeError(
            f"the full Shapley game takes at most {MAX_PLAYERS} channels, there are "
            f"{player_count:,}: take `shapley`, or a coarser unit"
        )
    sets = ChannelSets.of(paths)
    mask = np.bincount(sets.path, 2.0**sets.channel, minlength=len(paths.conversions)).astype(
        np.int64
    )
    occurrences = _sum_subsets(mask, paths.conversions + paths.nulls, player_count)

    def shares(results: Floats, name: str) -> Floats:
        if not results.any():
            return np.zeros(player_count, dtype=np.float64)
        game = _sum_subsets(mask, results, player_count)
        if worth == "rate":
            game = np.divide(game, occurrences, out=np.zeros_like(game), where=occurrences > 0)
        parts = _shapley_values(game, player_count)
        total = float(parts.sum())
        if total <= 1e-12 * np.abs(game).max():
            raise NoWorthError(
                f"paths with touches bring no higher rate of {name} than those without, so there "
                "is nothing to divide by rate: take worth `conversions`"
            )
        return parts / total

    is_in_game = paths.lengths > 0 if worth == "conversions" else np.ones_like(mask, dtype=bool)
    return (
        shares(np.where(is_in_game, paths.conversions, 0.0), "conversions"),
        shares(np.where(is_in_game, paths.values, 0.0), "value"),
    )


def _sum_subsets(mask: Ints, amounts: Floats, player_count: int) -> Floats:
    """Return, for each coalition, the sum over paths that have no channel outside of it."""
    sums = sum_by(mask, amounts, 2**player_count)
    coalitions = np.arange(2**player_count)
    for player in range(player_count):
        player_coalitions = coalitions[(coalitions >> player) & 1 == 1]
        sums[player_coalitions] += sums[player_coalitions ^ (1 << player)]
    return sums


def _shapley_values(game: Floats, player_count: int) -> Floats:
    """Return each player's mean marginal contribution over all orders of joining."""
    coalitions = np.arange(2**player_count)
    sizes = np.bitwise_count(coalitions).astype(np.int64)
    weight = np.array(
        [1.0 / (player_count * comb(player_count - 1, size)) for size in range(player_count)]
    )
    values = np.zeros(player_count)
    for player in range(player_count):
        other_coalitions = coalitions[(coalitions >> player) & 1 == 0]
        gains = game[other_coalitions | (1 << player)] - game[other_coalitions]
        values[player] = gains @ weight[sizes[other_coalitions]]
    return values


def shao_li(paths: PathCounts) -> tuple[ChannelSets, Floats]:
    """Return the distinct channels of each path and their shares of its credit, in proportion to
    the conversion rates of paths with the channel alone and with each of the path's other channels
    (Shao & Li 2011, second order).

    Negative weights count as 0; if all weights of a path are 0, its channels have equal shares.
    Raises TooLargeError.
    """
    sets = ChannelSets.of(paths)
    size = sets.sizes[sets.path]
    if int(size.sum()) > _MAX_PAIRS:
        raise TooLargeError(
            "paths have too many distinct channels for Shao–Li: take a coarser unit, or `linear`"
        )
    pair_sums, own_rates = _rates(sets, paths)
    own_sums = sum_by(sets.path, own_rates, len(sets.sizes))[sets.path]
    # Σ over the others j of rate(i, j) − rate(i) − rate(j)
    synergies = (pair_sums - own_rates) - (size - 1) * own_rates - (own_sums - own_rates)
    weights = np.maximum(own_rates + synergies / (2.0 * np.maximum(size - 1, 1)), 0.0)
    weight_sums = sum_by(sets.path, weights, len(sets.sizes))[sets.path]
    return sets, np.divide(weights, weight_sums, out=1.0 / size, where=weight_sums > 0)


def _rates(sets: ChannelSets, paths: PathCounts) -> tuple[Floats, Floats]:
    """Return two rates for each channel of each path: the conversion rates of paths with it and
    another channel of the path, summed over the path's channels (itself included), and the
    conversion rate of paths with it."""
    size = sets.sizes[sets.path]
    starts = (np.cumsum(sets.sizes) - sets.sizes)[sets.path]
    first = np.repeat(np.arange(len(size)), size)
    other = np.repeat(starts - np.cumsum(size) + size, size) + np.arange(len(first))
    pair = sets.channel[first] * len(paths.channels) + sets.channel[other]
    if len(paths.channels) ** 2 > _MAX_PAIRS:
        pair = np.unique(pair, return_inverse=True)[1]
    pairs = int(pair.max(initial=-1)) + 1
    occurrences = sum_by(pair, (paths.conversions + paths.nulls)[sets.path[first]], pairs)
    conversions = sum_by(pair, paths.conversions[sets.path[first]], pairs)
    rate = np.divide(
        conversions, occurrences, out=np.zeros_like(occurrences), where=occurrences > 0
    )[pair]
    return sum_by(first, rate, len(size)), rate[first == other]
