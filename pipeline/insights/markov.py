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

_MAX_CIRCULAR_STATES: Final = 4_000
"""Most states of a strongly connected component, which is inverted as a dense matrix."""

_MAX_WORK: Final = 50_000_000
"""Most states × channels above order 1, where the chain is solved once per channel."""

_MAX_FACTORED_STATES: Final = 1_500
"""Most states of a chain that is factored at once, without trying to sum it first."""

_MAX_SWEEPS: Final = 2_000
_TOLERANCE: Final = 1e-16


class TooLargeError(Exception):
    """Raised when an exact solution would take too long; the message names a remedy."""


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """States of paths at one order, and the steps between them.

    `first_states[i]` and `last_states[i]` are the states of path i (−1: it is empty); step j goes
    from `source` to `target` in the path `step_path`; `members` has a row per state and
    a column per channel.
    """

    count: int
    first_states: Ints
    last_states: Ints
    source: Ints
    target: Ints
    step_path: Ints
    members: Any

    @staticmethod
    def of(paths: PathCounts, order: int) -> "Windows":
        positions = np.arange(len(paths.codes))
        places = positions - paths.offsets[:-1][paths.owners]
        window = number_windows(paths.codes + 1, places, order)
        is_full = places >= np.minimum(order, paths.lengths[paths.owners]) - 1
        ends = positions[is_full]
        state_positions, state = _number_labels(window[ends])
        owner = paths.owners[ends]
        first_states = np.full(len(paths.conversions), -1, dtype=np.int64)
        last_states = first_states.copy()
        first_states[owner[::-1]] = state[::-1]
        last_states[owner] = state
        steps = np.flatnonzero((owner[1:] == owner[:-1]) & (state[1:] != state[:-1]))
        return Windows(
            count=len(state_positions),
            first_states=first_states,
            last_states=last_states,
            source=state[steps],
            target=state[steps + 1],
            step_path=owner[steps],
            members=_members(paths, ends[state_positions], order),
        )


def _number_labels(labels: Ints) -> tuple[Ints, Ints]:
    """Return a position of each distinct label, and the number of the label at each position. Small
    labels, as all are at order 1, are numbered without sorting."""
    max_label = int(labels.max(initial=0))
    if max_label > 4 * len(labels) + 1_000:
        position, number = np.unique(labels, return_index=True, return_inverse=True)[1:]
        return position, number
    label_positions = np.full(max_label + 1, -1, dtype=np.int64)
    label_positions[labels] = np.arange(len(labels))
    is_present = label_positions >= 0
    return label_positions[is_present], (np.cumsum(is_present) - 1)[labels]


def number_windows(symbols: Ints, places: Ints, order: int) -> Ints:
    """Return a number for the window at each position: the last `order` symbols of its path, or
    fewer at its beginning. `places`: of each position in its path, from 0."""
    window = symbols
    for _ in range(order - 1):
        previous = np.where(places > 0, np.concatenate(([0], window[:-1])), 0)[: len(window)]
        pairs = previous * (int(symbols.max(initial=0)) + 1) + symbols
        window = np.unique(pairs, return_inverse=True)[1] + 1
    return window


def _members(paths: PathCounts, ends: Ints, order: int) -> Any:
    """Return a mask of the channels in the window that ends at each of `ends`."""
    starts = np.maximum(paths.offsets[:-1][paths.owners[ends]], ends - order + 1)
    sizes = ends - starts + 1
    rows = np.repeat(np.arange(len(ends)), sizes)
    offsets = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    columns = paths.codes[np.repeat(starts, sizes) + offsets]
    shape = (len(ends), len(paths.channels))
    matrix = sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)
    matrix.data[:] = 1.0  # also for a channel that occurs twice in the window
    return matrix.tocsc()


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """Absorbing Markov chain of paths.

    `steps`: probabilities of going from state to state; `start`: of beginning in each state;
    `rewards`: mean conversions and value of a visit to each state, by ending there;
    `rewards_without_touch`: conversions and value of paths without touches, divided by the number
    of all paths.
    """

    steps: Any
    start: Floats
    rewards: Floats
    rewards_without_touch: Floats

    @staticmethod
    def of(paths: PathCounts, windows: Windows) -> "Chain":
        """Return the chain of paths; paths without occurrences add no state."""
        occurrences = paths.conversions + paths.nulls
        has_touch = windows.first_states >= 0
        weights = occurrences[windows.step_path]
        shape = (windows.count, windows.count)
        steps = sparse.csr_array((weights, (windows.source, windows.target)), shape=shape)
        end_states = windows.last_states[has_touch]
        departures = sum_by(windows.source, weights, windows.count)
        departures += sum_by(end_states, occurrences[has_touch], windows.count)
        scale = np.divide(1.0, departures, out=np.zeros(windows.count), where=departures > 0)
        results = np.stack((paths.conversions, paths.values), axis=1)
        rewards = np.zeros((windows.count, 2))
        np.add.at(rewards, end_states, results[has_touch])
        beginnings = sum_by(windows.first_states[has_touch], occurrences[has_touch], windows.count)
        total = occurrences.sum() or 1.0
        return Chain(
            steps=(sparse.diags_array(scale) @ steps).tocsr(),
            start=beginnings / total,
            rewards=rewards * scale[:, None],
            rewards_without_touch=results[~has_touch].sum(axis=0) / total,
        )


@dataclass(frozen=True, slots=True, eq=False)
class RemovalEffects:
    """Shares of conversions, and of value, that would be lost without a channel, by channel. NaN
    where nothing converts, so that there is nothing to lose."""

    conversions: Floats
    values: Floats


def removal_effects(paths: PathCounts, order: int) -> RemovalEffects:
    """Return the removal effects of the channels of `paths`. Raises TooLargeError."""
    return solve(paths, Windows.of(paths, order), order)


def solve(paths: PathCounts, windows: Windows, order: int) -> RemovalEffects:
    """Return the removal effects of channels, from the states of the paths at one order. Raises
    TooLargeError."""
    chain = Chain.of(paths, windows)
    if order == 1:
        rewards, losses = _solve_states(chain)
        by_channel = windows.members.T @ losses
    else:
        rewards, by_channel = _solve_channels(chain, windows)
    total = rewards + chain.rewards_without_touch
    effects = np.full(by_channel.shape, np.nan)
    np.divide(by_channel, total, out=effects, where=total > 0)
    effects = np.clip(effects, 0.0, 1.0)
    return RemovalEffects(effects[:, 0], effects[:, 1])


def _solve_states(chain: Chain) -> tuple[Floats, Floats]:
    """Return the rewards from the start, and the part that passes through each state.

    A state is reached with the probability visits ÷ returns; without it, all rewards after it are
    lost.
    """
    later_rewards = _accumulate(chain.steps, chain.rewards)
    visits = _accumulate(chain.steps.T.tocsr(), chain.start)
    arrivals = visits / _returns(chain.steps)
    return chain.start @ later_rewards, arrivals[:, None] * later_rewards


def _solve_channels(chain: Chain, windows: Windows) -> tuple[Floats, Floats]:
    """Return the rewards from the start, and the part that is lost without each channel, by solving
    the chain without the channel's states."""
    channels = windows.members.shape[1]
    if channels * windows.count > _MAX_WORK:
        raise TooLargeError(
            f"{channels:,} channels with {windows.count:,} states are too many for an exact "
            "solution above order 1: take order 1, or a coarser unit"
        )
    total = chain.start @ _accumulate(chain.steps, chain.rewards)
    losses = np.zeros((channels, 2))
    for channel in range(channels):
        is_removed = np.zeros(windows.count, dtype=bool)
        start, end = windows.members.indptr[channel : channel + 2]
        is_removed[windows.members.indices[start:end]] = True
        kept_states = np.flatnonzero(~is_removed)
        rest_steps = chain.steps[kept_states][:, kept_states]
        remainder = chain.start[kept_states] @ _accumulate(rest_steps, chain.rewards[kept_states])
        losses[channel] = total - remainder
    return total, losses


def _accumulate(steps: Any, start: Floats) -> Floats:
    """Solve x = start + steps · x.

    In large chains the factors are dense, while the sum start + steps · start + … converges after a
    few times the length of a path; if it does not, the chain is factored.
    """
    size = steps.shape[0]
    if size == 0:
        return start
    if size > _MAX_FACTORED_STATES:
        visits = start
        for _ in range(_MAX_SWEEPS):
            visits, previous = start + steps @ visits, visits
            if np.abs(visits - previous).max() <= _TOLERANCE * np.abs(visits).max():
                return np.asarray(visits, dtype=np.float64)
    system = (sparse.eye_array(size) - steps).tocsc()
    solution: Floats = splu(system, permc_spec="MMD_AT_PLUS_A").solve(start)
    return solution


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
    if sizes.max() > _MAX_CIRCULAR_STATES:
        raise TooLargeError(
            f"{sizes.max():,} channels lead to each other in circles; an exact solution takes at "
            f"most {_MAX_CIRCULAR_STATES:,}: take a coarser unit, or another model"
        )
    ends = np.cumsum(sizes)
    for circle in np.flatnonzero(sizes > 1):
        circle_states = members[ends[circle] - sizes[circle] : ends[circle]]
        block = np.eye(len(circle_states)) - steps[circle_states][:, circle_states].toarray()
        diagonal[circle_states] = np.diag(np.linalg.inv(block))
    return diagonal
