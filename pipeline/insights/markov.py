"""Markov model of attribution: the conversions that would be lost without a channel.

At order k a state is the window of the last k channels (a shorter path is one state), and
consecutive identical states are one. Removing a channel redirects every state that contains it to
the null state. The absorbing chain is solved exactly.

After Anderl et al. (2016) and the definition in the package ChannelAttribution, which samples.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph
from scipy.sparse.linalg import splu

from pipeline.insights.paths import Floats, Ints, PathCounts, sum_by

ORDERS: Final = (1, 2, 3, 4)

_MOST_TANGLED: Final = 4_000
"""Most states of a strongly connected component, which is inverted as a dense matrix."""

_MOST_WORK: Final = 50_000_000
"""Most states × channels above order 1, where the chain is solved once per channel."""

_SMALL: Final = 1_500
"""Most states of a chain that is factored in any case."""

_MOST_SWEEPS: Final = 2_000
_AT_REST: Final = 1e-16


class TooLargeError(Exception):
    """Raised when an exact solution would take too long; the message names a remedy."""


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """States of paths at one order, and the steps between them.

    `first[i]` and `last[i]` are the states of path i (−1: it is empty); step j goes from `source`
    to `target` in the path `step_path`; `members` has a row per state and a column per channel.
    """

    count: int
    first: Ints
    last: Ints
    source: Ints
    target: Ints
    step_path: Ints
    members: Any

    @staticmethod
    def of(paths: PathCounts, order: int) -> "Windows":
        positions = np.arange(len(paths.codes))
        within = positions - paths.offsets[:-1][paths.owners]
        window = rolling(paths.codes + 1, within, order)
        full = within >= np.minimum(order, paths.lengths[paths.owners]) - 1
        kept = positions[full]
        state_of, state = _number_labels(window[kept])
        owner = paths.owners[kept]
        first = np.full(len(paths.conversions), -1, dtype=np.int64)
        last = first.copy()
        first[owner[::-1]] = state[::-1]
        last[owner] = state
        steps = np.flatnonzero((owner[1:] == owner[:-1]) & (state[1:] != state[:-1]))
        return Windows(
            count=len(state_of),
            first=first,
            last=last,
            source=state[steps],
            target=state[steps + 1],
            step_path=owner[steps],
            members=_members(paths, kept[state_of], order),
        )


def _number_labels(labels: Ints) -> tuple[Ints, Ints]:
    """Return the position of each distinct label, and each position's label number; small labels,
    as all are at order 1, need no sorting."""
    most = int(labels.max(initial=0))
    if most > 4 * len(labels) + 1_000:
        position, number = np.unique(labels, return_index=True, return_inverse=True)[1:]
        return position, number
    somewhere = np.full(most + 1, -1, dtype=np.int64)
    somewhere[labels] = np.arange(len(labels))
    present = somewhere >= 0
    return somewhere[present], (np.cumsum(present) - 1)[labels]


def rolling(symbols: Ints, within: Ints, order: int) -> Ints:
    """Return a number for the last `order` symbols at each position, or fewer."""
    window = symbols
    for _ in range(order - 1):
        before = np.where(within > 0, np.concatenate(([0], window[:-1])), 0)[: len(window)]
        pairs = before * (int(symbols.max(initial=0)) + 1) + symbols
        window = np.unique(pairs, return_inverse=True)[1] + 1
    return window


def _members(paths: PathCounts, ends: Ints, order: int) -> Any:
    """Return a mask of the channels in the window that ends at each of `ends`."""
    begins = np.maximum(paths.offsets[:-1][paths.owners[ends]], ends - order + 1)
    sizes = ends - begins + 1
    rows = np.repeat(np.arange(len(ends)), sizes)
    offsets = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    columns = paths.codes[np.repeat(begins, sizes) + offsets]
    shape = (len(ends), len(paths.channels))
    matrix = sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)
    matrix.data[:] = 1.0  # a channel that occurs twice
    return matrix.tocsc()


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """Probabilities: `steps` between states, `start` into each; and the conversions and value of a
    visit that ends in a state."""

    steps: Any
    start: Floats
    rewards: Floats
    at_once: Floats

    @staticmethod
    def of(paths: PathCounts, windows: Windows) -> "Chain":
        """Return the chain of paths; paths without occurrences add no state."""
        seen = paths.conversions + paths.nulls
        touched = windows.first >= 0
        weights = seen[windows.step_path]
        shape = (windows.count, windows.count)
        steps = sparse.csr_array((weights, (windows.source, windows.target)), shape=shape)
        ended = windows.last[touched]
        leaving = sum_by(windows.source, weights, windows.count)
        leaving += sum_by(ended, seen[touched], windows.count)
        scale = np.divide(1.0, leaving, out=np.zeros(windows.count), where=leaving > 0)
        results = np.stack((paths.conversions, paths.values), axis=1)
        rewards = np.zeros((windows.count, 2))
        np.add.at(rewards, ended, results[touched])
        begun = sum_by(windows.first[touched], seen[touched], windows.count)
        total = seen.sum() or 1.0
        return Chain(
            steps=(sparse.diags_array(scale) @ steps).tocsr(),
            start=begun / total,
            rewards=rewards * scale[:, None],
            at_once=results[~touched].sum(axis=0) / total,
        )


@dataclass(frozen=True, slots=True, eq=False)
class RemovalEffects:
    """Shares of conversions, and of value, that would be lost without a channel, by channel. NaN
    where nothing converts, so that there is nothing to lose."""

    conversions: Floats
    values: Floats


def removal_effects(paths: PathCounts, order: int) -> RemovalEffects:
    """Solve the chain of `paths` with and without each channel."""
    return solve(paths, Windows.of(paths, order), order)


def solve(paths: PathCounts, windows: Windows, order: int) -> RemovalEffects:
    """Return the removal effects where the windows are known."""
    chain = Chain.of(paths, windows)
    if order == 1:
        kept, lost = _lose_states(chain)
        by_channel = windows.members.T @ lost
    else:
        kept, by_channel = _lose_sets(chain, windows)
    whole = kept + chain.at_once
    effects = np.full(by_channel.shape, np.nan)
    np.divide(by_channel, whole, out=effects, where=whole > 0)
    effects = np.clip(effects, 0.0, 1.0)
    return RemovalEffects(effects[:, 0], effects[:, 1])


def _lose_states(chain: Chain) -> tuple[Floats, Floats]:
    """Return the rewards from the start, and the part that passes through each state.

    A state is reached with the probability visits ÷ returns, and all rewards after it are lost.
    """
    ahead = _accumulate(chain.steps, chain.rewards)
    visits = _accumulate(chain.steps.T.tocsr(), chain.start)
    reached = visits / _returns(chain.steps)
    return chain.start @ ahead, reached[:, None] * ahead


def _lose_sets(chain: Chain, windows: Windows) -> tuple[Floats, Floats]:
    """Return rewards and losses for sets of states, by solving the chain without each channel's."""
    channels = windows.members.shape[1]
    if channels * windows.count > _MOST_WORK:
        raise TooLargeError(
            f"{channels:,} channels with {windows.count:,} states are too many for an exact "
            "solution above order 1: take order 1, or a coarser unit"
        )
    whole = chain.start @ _accumulate(chain.steps, chain.rewards)
    lost = np.zeros((channels, 2))
    for channel in range(channels):
        inside = np.zeros(windows.count, dtype=bool)
        begin, end = windows.members.indptr[channel : channel + 2]
        inside[windows.members.indices[begin:end]] = True
        outside = np.flatnonzero(~inside)
        rest = chain.steps[outside][:, outside]
        kept = chain.start[outside] @ _accumulate(rest, chain.rewards[outside])
        lost[channel] = whole - kept
    return whole, lost


def _accumulate(steps: Any, start: Floats) -> Floats:
    """Solve x = each + steps · x.

    In large chains the factors are dense, while the sum each + steps · each + … converges after a
    few times the length of a path; if it does not, the chain is factored.
    """
    size = steps.shape[0]
    if size == 0:
        return start
    if size > _SMALL:
        visits = start
        for _ in range(_MOST_SWEEPS):
            visits, before = start + steps @ visits, visits
            if np.abs(visits - before).max() <= _AT_REST * np.abs(visits).max():
                return np.asarray(visits, dtype=np.float64)
    system = (sparse.eye_array(size) - steps).tocsc()
    solved: Floats = splu(system, permc_spec="MMD_AT_PLUS_A").solve(start)
    return solved


def _returns(steps: Any) -> Floats:
    """Return the mean number of visits to each state once it was reached: the diagonal of (I −
    steps)⁻¹, which depends only on the states on cycles with it."""
    size = steps.shape[0]
    diagonal = np.ones(size)
    if size == 0:
        return diagonal
    label = csgraph.connected_components(steps, connection="strong")[1]
    members = np.argsort(label, kind="stable")
    sizes = np.bincount(label)
    if sizes.max() > _MOST_TANGLED:
        raise TooLargeError(
            f"{sizes.max():,} channels lead to each other in circles; an exact solution takes at "
            f"most {_MOST_TANGLED:,}: take a coarser unit, or another model"
        )
    ends = np.cumsum(sizes)
    for circle in np.flatnonzero(sizes > 1):
        inside = members[ends[circle] - sizes[circle] : ends[circle]]
        block = np.eye(len(inside)) - steps[inside][:, inside].toarray()
        diagonal[inside] = np.diag(np.linalg.inv(block))
    return diagonal
