"""Lines are sorted however many runs they take, and their runs are gone afterwards."""

from pathlib import Path
from random import Random

import pytest

from pipeline.simulate.sorting import SortedLines


@pytest.mark.parametrize("lines_per_run", [1, 7, 1_000])
def test_lines_are_sorted_by_key_in_the_order_of_their_addition(
    tmp_path: Path, lines_per_run: int
) -> None:
    random = Random(1)
    entries = [(random.randrange(50), f"line {n}".encode()) for n in range(300)]
    with SortedLines(tmp_path, lines_per_run) as lines:
        for key, line in entries:
            lines.add(key, line)
        assert len(lines) == len(entries)
        assert list(lines) == [line for _, line in sorted(entries, key=lambda entry: entry[0])]
    assert not list(tmp_path.iterdir())


def test_sorting_no_lines_gives_no_lines(tmp_path: Path) -> None:
    with SortedLines(tmp_path) as lines:
        assert not list(lines)
