"""Rules of thumb: each path's conversions are divided among its touches by position."""

from collections.abc import Callable, Set
from typing import Final, TypeAlias

import numpy as np

from pipeline.insights.paths import Floats, Ints, PathCounts

DIRECT: Final = frozenset({"direct", "(direct)"})
_FIRST: Final = 0.4
_LAST: Final = 0.4

# Share of its path's credit for each touch; shares of a path add up to 1.
Shares: TypeAlias = Callable[[PathCounts], Floats]


def first_touch(paths: PathCounts) -> Floats:
    """Give everything to the first touch."""
    shares = np.zeros(len(paths.codes))
    shares[_first_positions(paths)] = 1.0
    return shares


def last_touch(paths: PathCounts) -> Floats:
    """Give everything to the last touch."""
    shares = np.zeros(len(paths.codes))
    shares[_last_positions(paths)] = 1.0
    return shares


def last_non_direct(direct: Set[str] = DIRECT) -> Shares:
    """Give everything to the last touch that is not of a direct channel, where there is one."""
    folded = {name.casefold() for name in direct}

    def shares_of(paths: PathCounts) -> Floats:
        is_direct = np.array([name.casefold() in folded for name in paths.channels], dtype=bool)
        chosen = np.full(len(paths.conversions), -1, dtype=np.int64)
        positions = np.arange(len(paths.codes))
        chosen[paths.owners] = positions
        indirect = ~is_direct[paths.codes] if len(paths.codes) else np.zeros(0, dtype=bool)
        chosen[paths.owners[indirect]] = positions[indirect]
        shares = np.zeros(len(paths.codes))
        shares[chosen[chosen >= 0]] = 1.0
        return shares

    return shares_of


def linear(paths: PathCounts) -> Floats:
    """Give the same to every touch."""
    return 1.0 / paths.lengths[paths.owners]


def position_based(paths: PathCounts) -> Floats:
    """Give 40 % to the first touch, 40 % to the last and 20 % to those between; halves where there
    are two, everything to a single one."""
    lengths = paths.lengths[paths.owners]
    middle = (1.0 - _FIRST - _LAST) / np.maximum(lengths - 2, 1)
    shares = np.where(lengths > 2, middle, 1.0 / np.maximum(lengths, 1))
    shares[_first_positions(paths)[_has_middle_touches(paths)]] = _FIRST
    shares[_last_positions(paths)[_has_middle_touches(paths)]] = _LAST
    return shares


def _first_positions(paths: PathCounts) -> Ints:
    return paths.offsets[:-1][paths.lengths > 0]


def _last_positions(paths: PathCounts) -> Ints:
    return paths.offsets[1:][paths.lengths > 0] - 1


def _has_middle_touches(paths: PathCounts) -> Ints:
    """Return a mask of the non-empty paths with touches between the first and the last."""
    return np.flatnonzero(paths.lengths[paths.lengths > 0] > 2)
