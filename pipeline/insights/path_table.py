"""Aggregated paths: a table of path, conversions, value, nulls."""

from collections.abc import Iterable, Sequence
from math import isclose
from pathlib import Path
from typing import Final

from pipeline.config.footers import is_summary_word
from pipeline.insights.engines import Queries
from pipeline.insights.paths import NO_TOUCH, PathCounts, PathRow, count_paths
from pipeline.insights.tables import Column, TableError

SEPARATOR: Final = " > "

_COLUMNS: Final = (
    Column("path", "text", blank=True),
    Column("conversions", "amount"),
    Column("value", "amount", required=False),
    Column("nulls", "amount", required=False),
)


def read_paths(queries: Queries, file: Path) -> PathCounts:
    """Read a table of paths and add up equal ones. Raises TableError."""
    table = queries.open_table(file, _COLUMNS)
    result = queries.rows(
        "SELECT path, sum(conversions), coalesce(sum(value), 0), coalesce(sum(nulls), 0), "
        "min(row), min(row) FILTER (conversions = 0 AND value > 0) "
        f"FROM {table.name} "
        "GROUP BY path ORDER BY path"
    )
    rows: list[PathRow] = []
    totals: list[tuple[str, PathRow]] = []
    for text, conversions, value, nulls, row, unearned_row in result:
        if unearned_row is not None:
            raise TableError(
                f"{table.place(unearned_row)}: value: path {text!r} has a value but no conversion"
            )
        path = _split(text)
        if isinstance(path, str):
            raise TableError(f"{table.place(row)}: path: {path}")
        rows.append(PathRow(path, conversions, value, nulls))
        if is_summary_word(text or ""):
            totals.append((table.place(row), rows[-1]))
    _refuse_totals(rows, totals)
    return count_paths(rows)


def _refuse_totals(rows: Sequence[PathRow], totals: Iterable[tuple[str, PathRow]]) -> None:
    """Raise TableError for a path that is called a total and is the sum of all others, since it
    would count twice."""
    conversions = sum(row.conversions for row in rows)
    value = sum(row.value for row in rows)
    for place, row in totals:
        is_half = isclose(2 * row.conversions, conversions) and isclose(2 * row.value, value)
        if is_half and row.conversions and len(rows) > 1:
            problem = f"{row.path[0]!r} is the sum of all other rows: remove it"
            raise TableError(f"{place}: path: {problem}")


def _split(text: str | None) -> tuple[str, ...] | str:
    """Return the channels of a path, or the fault of its text."""
    if text is None:
        return ()
    # A separator at an end has lost its blank to the trimming of the cell.
    path = tuple(channel.strip() for channel in f" {text} ".split(SEPARATOR))
    if not all(path):
        return f"{text!r} has a channel without a name"
    if NO_TOUCH in path:
        return f"the name {NO_TOUCH!r} is taken: rename that channel"
    return path
