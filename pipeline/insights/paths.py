"""Paths of touches with their numbers of conversions: the statistics from which models credit."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]

NO_TOUCH: Final = "(no touch)"  # gets the credit of conversions that no touch preceded


@dataclass(frozen=True, slots=True, eq=False)
class PathCounts:
    """Distinct paths, one after the other in `codes`: path i is `codes[offsets[i]:offsets[i+1]]`,
    codes are indices into `channels`; it converted `conversions[i]` times with `values[i]` in
    total, and ended without conversion `nulls[i]` times."""

    channels: tuple[str, ...]
    offsets: Ints
    codes: Ints
    conversions: Floats
    values: Floats
    nulls: Floats

    @property
    def lengths(self) -> Ints:
        return np.diff(self.offsets)

    @property
    def owners(self) -> Ints:
        """Path that each touch belongs to."""
        return np.repeat(np.arange(len(self.conversions)), self.lengths)

    def without_nulls(self) -> "PathCounts":
        return replace(self, nulls=np.zeros_like(self.nulls))

    def reweight(self, conversions: Floats, nulls: Floats) -> "PathCounts":
        """Return the same paths with other numbers of occurrences; a path's mean value stays."""
        share = np.divide(
            conversions, self.conversions, out=np.zeros_like(conversions), where=conversions > 0
        )
        return replace(self, conversions=conversions, values=self.values * share, nulls=nulls)


def sum_by(index: Ints, amounts: Floats, size: int) -> Floats:
    """Return, for each index from 0 to `size` − 1, the sum of its amounts."""
    return np.asarray(np.bincount(index, amounts, size), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class PathRow:
    """Row of a table of paths."""

    path: tuple[str, ...]
    conversions: float
    value: float = 0.0
    nulls: float = 0.0


def count_paths(rows: Sequence[PathRow]) -> PathCounts:
    """Add up the rows of equal paths."""
    channels = sorted({channel for row in rows for channel in row.path})
    code = {channel: index for index, channel in enumerate(channels)}
    sums_by_path: dict[tuple[str, ...], list[float]] = {}
    for row in rows:
        sums = sums_by_path.setdefault(row.path, [0.0, 0.0, 0.0])
        sums[0] += row.conversions
        sums[1] += row.value
        sums[2] += row.nulls
    totals = np.array(list(sums_by_path.values()), dtype=np.float64).reshape(len(sums_by_path), 3)
    return PathCounts(
        channels=tuple(channels),
        offsets=np.cumsum([0, *(len(path) for path in sums_by_path)], dtype=np.int64),
        codes=np.array(
            [code[channel] for path in sums_by_path for channel in path], dtype=np.int64
        ),
        conversions=totals[:, 0].copy(),
        values=totals[:, 1].copy(),
        nulls=totals[:, 2].copy(),
    )
