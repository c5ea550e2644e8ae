"""Window of cells by time: exact for few interactions, by panes for many.

A pane is at most 1/60 of the window and begins at a multiple of its length. It has up to 8 cells,
one per moment; beyond that it is one cell, which leaves the window with the pane's last moment.
A pane's content follows from its interactions alone, so neither order nor shards matter.

`floor` is the last moment (ms) before the window: the window is `(floor, floor + window]`.
"""

from bisect import bisect_left, bisect_right
from functools import reduce
from typing import Final

from pipeline.enrichment.cells import Combine
from pipeline.enrichment.state import Cell, Panes

_MIN_PANES: Final = 60
"""Minimum number of panes in a window."""

_MAX_CELLS: Final = 8
"""Maximum of cells in a pane; beyond it, the pane is one cell."""


def pane_length_ms(window_ms: int) -> int:
    """Return the length of the panes in ms."""
    return max(1, window_ms // _MIN_PANES)


def prune(panes: Panes, floor: int, pane_ms: int) -> Panes:
    """Return the panes without those that have completely left the window."""
    first_begin = (floor + 1) // pane_ms * pane_ms
    if not panes.ats or panes.ats[0] >= first_begin:
        return panes
    cut = bisect_left(panes.ats, first_begin)
    return Panes(
        panes.ats[cut:],
        panes.cells[cut:],
        tuple(end for end in panes.pane_ends if end >= first_begin),
    )


def merge(a: Panes, b: Panes, pane_ms: int, combine: Combine) -> Panes:
    """Merge the panes of two parts."""
    for at, cell in zip(b.ats, b.cells, strict=True):
        a = _add(a, at, cell, at in b.pane_ends, pane_ms, combine)
    return a


def _add(
    panes: Panes, at: int, cell: Cell, is_whole: bool, pane_ms: int, combine: Combine
) -> Panes:
    """Add the cell of the moment `at` (ms); `is_whole`: of the whole pane that ends then."""
    end = at // pane_ms * pane_ms + pane_ms - 1
    is_whole = is_whole or end in panes.pane_ends
    panes = _put(panes, end if is_whole else at, cell, combine)
    first_index, end_index = bisect_left(panes.ats, end - pane_ms + 1), bisect_right(panes.ats, end)
    if not is_whole and end_index - first_index <= _MAX_CELLS:
        return panes
    ats, cells, whole_ends = panes.ats, panes.cells, panes.pane_ends
    return Panes(
        (*ats[:first_index], end, *ats[end_index:]),
        (*cells[:first_index], reduce(combine, cells[first_index:end_index]), *cells[end_index:]),
        whole_ends if end in whole_ends else tuple(sorted((*whole_ends, end))),
    )


def _put(panes: Panes, at: int, cell: Cell, combine: Combine) -> Panes:
    ats, cells = panes.ats, panes.cells
    index = bisect_left(ats, at)
    if index < len(ats) and ats[index] == at:
        cell = combine(cells[index], cell)
        return Panes(ats, (*cells[:index], cell, *cells[index + 1 :]), panes.pane_ends)
    return Panes(
        (*ats[:index], at, *ats[index:]), (*cells[:index], cell, *cells[index:]), panes.pane_ends
    )


def cells_after(panes: Panes, floor: int) -> tuple[Cell, ...]:
    """Return the cells after `floor`."""
    if not panes.ats or panes.ats[0] > floor:
        return panes.cells
    return panes.cells[bisect_right(panes.ats, floor) :]


def next_departure(panes: Panes, floor: int) -> int | None:
    """Return the moment of the first cell after `floor`; None: there is none."""
    index = bisect_right(panes.ats, floor)
    return panes.ats[index] if index < len(panes.ats) else None
