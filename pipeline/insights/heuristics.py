"""Rules of thumb: each path's conversions are divided among its touches by position."""

from collections.abc import Callable, Set
from typing import Final, TypeAlias

import numpy as np

from pipeline.insights.paths import Floats, Ints, PathCounts

DIRECT: Final = frozenset({"direct", "(direct)"})
_FIRST: Final = 0.4
_LAST: Final = 0.4

# Share of its path's credit for each touch; shares of a path add up to 1.
ShareRule: TypeAlias = Callable[[PathCounts], Floats]


def first_touch(paths: PathCounts) -> Floats:
    """Credit the first touch with everything."""
    shares = np.zeros(len(paths.codes))
    shares[_first_positions(paths)] = 1.0
    return shares


def last_touch(paths: PathCounts) -> Floats:
    """Credit the last touch with everything."""
    shares = np.zeros(len(paths.codes))
    shares[_last_positions(paths)] = 1.0
    return shares


def last_non_direct(direct: Set[str] = DIRECT) -> ShareRule:
    """Return the rule that credits the last touch of a channel that is not direct, or the last one
    if all are direct."""
    direct_names = {name.casefold() for name in direct}

    def credit_last_indirect(paths: PathCounts) -> Floats:
        is_direct = np.array(
            [name.casefold() in direct_names for name in paths.channels], dtype=bool
        )
        credit_positions = np.full(len(paths.conversions), -1, dtype=np.int64)
        positions = np.arange(len(paths.codes))
        credit_positions[paths.owners] = positions
        indirect = ~is_direct[paths.codes] if len(paths.codes) else np.zeros(0, dtype=bool)
        credit_positions[paths.owners[indirect]] = positions[indirect]
        shares = np.zeros(len(paths.codes))
        shares[credit_positions[credit_positions >= 0]] = 1.0
        return shares

    return credit_last_indirect


def equal_shares(paths: PathCounts) -> Floats:
    """Credit every touch with the same share."""
    return 1.0 / paths.lengths[paths.owners]


def position_based(paths: PathCounts) -> Floats:
    """Credit the first touch with 40 %, the last with 40 %, and those between with 20 % together;
    two touches with a half each, a single one with everything."""
    lengths = paths.lengths[paths.owners]
    middle_share = (1.0 - _FIRST - _LAST) / np.maximum(lengths - 2, 1)
    shares = np.where(lengths > 2, middle_share, 1.0 / np.maximum(lengths, 1))
    shares[_first_positions(paths)[_paths_with_middle(paths)]] = _FIRST
    shares[_last_positions(paths)[_paths_with_middle(paths)]] = _LAST
    return shares


def _first_positions(paths: PathCounts) -> Ints:
    return paths.offsets[:-1][paths.lengths > 0]


def _last_positions(paths: PathCounts) -> Ints:
    return paths.offsets[1:][paths.lengths > 0] - 1


def _paths_with_middle(paths: PathCounts) -> Ints:
    """Return the positions, among non-empty paths, of those with more than two touches."""
    return np.flatnonzero(paths.lengths[paths.lengths > 0] > 2)
