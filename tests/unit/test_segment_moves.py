"""Moves of segments equal a plain walk through the changes."""

import json
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from pipeline.cli.main import build_app
from pipeline.insights.engines import open_duckdb
from pipeline.insights.segment_moves import CHANGES, SegmentMoves, segment_moves
from pipeline.insights.tables import Engine, TableError
from pipeline.model.profile import SegmentChange
from pipeline.model.time import HOUR_MS
from tests.support.replayed import write_topic

_START_MS = 1_704_067_200_000

_changes = st.lists(
    st.tuples(
        st.sampled_from(["ann", "bob", "cy"]),
        st.sampled_from(["vip", "new"]),
        st.booleans(),
        st.integers(0, 400),
    ),
    max_size=25,
    unique_by=lambda change: (change[0], change[1], change[3]),
)


def _change(profile: str, segment: str, is_entry: bool, hour: int) -> SegmentChange:
    name = "entered" if is_entry else "exited"
    return SegmentChange(
        profile, segment, name, "why", _START_MS + hour * HOUR_MS, "cause", "config"
    )


def _find_moves(
    changes: list[SegmentChange], until_ms: int | None = None
) -> dict[str, SegmentMoves]:
    with TemporaryDirectory() as name, open_duckdb(Engine()) as queries:
        write_topic(Path(name), CHANGES, changes)
        return {move.segment: move for move in segment_moves(queries, Path(name), until_ms)}


@given(_changes)
@settings(max_examples=20, deadline=None)
def test_members_equal_a_plain_count(rows: list[tuple[str, str, bool, int]]) -> None:
    changes = [_change(*row) for row in rows]
    members_inside: set[tuple[str, str]] = set()
    counts: Counter[tuple[str, bool]] = Counter()
    for profile, segment, is_entry, _ in sorted(rows, key=lambda change: change[3]):
        if ((profile, segment) in members_inside) != is_entry:
            counts[segment, is_entry] += 1
            (members_inside.add if is_entry else members_inside.discard)((profile, segment))
    moves = _find_moves(changes * 2)
    for segment, figures in moves.items():
        assert (figures.entered, figures.exited) == (
            counts[segment, True],
            counts[segment, False],
        )
        assert figures.members == sum(name == segment for _, name in members_inside)
        assert figures.days[-1].members == figures.members
        assert sum(day.entered for day in figures.days) == figures.entered
    assert set(moves) == {segment for segment, _ in counts}


def test_median_stay_counts_present_members() -> None:
    entries = [_change(f"p{number}", "vip", True, 0) for number in range(4)]
    exits = [_change("p0", "vip", False, 10), _change("p1", "vip", False, 20)]
    last_changes = [_change("late", "new", True, 100)]
    assert _find_moves([*entries, *exits, *last_changes])["vip"].median_stay_ms == 20 * HOUR_MS
    assert _find_moves([*entries, exits[0], *last_changes])["vip"].median_stay_ms is None
    assert _find_moves([*entries, *exits], _START_MS + 15 * HOUR_MS)["vip"].members == 3


def test_command_prints_moves_and_names_a_missing_topic(tmp_path: Path) -> None:
    command = ["insights", "segments", "--topics", str(tmp_path)]
    refusal = CliRunner().invoke(build_app("insights"), command)
    assert isinstance(refusal.exception, TableError)
    write_topic(tmp_path, CHANGES, [_change("ann", "vip", True, 1)])
    result = CliRunner().invoke(build_app("insights"), [*command, "--json"])
    (moves,) = json.loads(result.stdout)
    assert (moves["segment"], moves["members"]) == ("vip", 1)
    assert "vip" in CliRunner().invoke(build_app("insights"), command).stdout
