"""Paths without a plan: where a journey begins and ends, and counts that add up."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from pipeline.insights.discovery import Discovery, DiscoveryOptions, discover
from pipeline.insights.engines import DuckQueries, open_duckdb
from pipeline.insights.events import EventOptions, read_events
from pipeline.insights.tables import Engine
from tests.support.journeys import DAY, case, write_events
from tests.unit.test_insights_journeys import run


@pytest.fixture
def queries() -> Iterator[DuckQueries]:
    with open_duckdb(Engine(threads=1)) as duck_queries:
        yield duck_queries


def find(queries: DuckQueries, file: Path, **options: Any) -> Discovery:
    log = read_events(queries, file, EventOptions())
    return discover(log, DiscoveryOptions(**{"goal": "buy", **options}))


def paths(discovery: Discovery) -> dict[tuple[str, ...], tuple[int, int]]:
    return {path.path: (path.journeys, path.converted) for path in discovery.paths}


def write_random_events(folder: Path, seed: int) -> Path:
    random = Random(seed)
    cases = [
        case(f"c{number}", random.uniform(0, 50), *random.choices("abcd", k=random.randint(1, 7)))
        for number in range(150)
    ]
    goals = [case(f"c{number}", random.uniform(0, 60), "buy") for number in range(0, 150, 3)]
    return write_events(folder, *cases, *goals)


def test_goal_ends_a_journey_and_the_next_event_begins_one(
    queries: DuckQueries, tmp_path: Path
) -> None:
    events = write_events(tmp_path, case("a", 0, "view", "buy", "view", "cart"))
    discovery = find(queries, events)
    assert paths(discovery) == {("view", "buy"): (1, 1), ("view", "cart"): (1, 0)}
    assert (discovery.cases, discovery.journeys) == (1, 2)
    assert (discovery.converted, discovery.dropped, discovery.unfinished) == (1, 0, 1)


def test_pause_longer_than_the_gap_ends_a_journey(queries: DuckQueries, tmp_path: Path) -> None:
    events = write_events(tmp_path, case("a", 0, "x", "y"), case("a", 3, "z"), case("b", 4, "x"))
    assert paths(find(queries, events, gap_ms=2 * DAY)) == {
        ("x", "y", "z"): (1, 0),
        ("x",): (1, 0),
    }
    discovery = find(queries, events, gap_ms=2 * DAY - 1)
    assert paths(discovery) == {("x", "y"): (1, 0), ("z",): (1, 0), ("x",): (1, 0)}
    assert (discovery.dropped, discovery.unfinished) == (1, 2)


def test_goal_after_the_window_does_not_count(queries: DuckQueries, tmp_path: Path) -> None:
    events = write_events(tmp_path, case("a", 0, "x"), case("a", 5, "buy"), case("b", 4, "x"))
    discovery = find(queries, events, window_ms=5 * DAY)
    assert paths(discovery) == {("x",): (2, 0)}
    assert (discovery.converted, discovery.dropped, discovery.unfinished) == (0, 1, 1)
    assert paths(find(queries, events, window_ms=5 * DAY + 1))["x", "buy"] == (1, 1)


def test_paths_end_with_the_number_of_steps(queries: DuckQueries, tmp_path: Path) -> None:
    events = write_events(tmp_path, case("a", 0, "x", "y", "buy"), case("b", 0, "x", "y"))
    discovery = find(queries, events, steps=2)
    assert [(path.path, path.complete, path.converted) for path in discovery.paths] == [
        (("x", "y"), False, 1),
        (("x", "y"), True, 0),
    ]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("max_nodes", [1, 7, 100_000])
def test_tree_adds_up_at_every_node(
    queries: DuckQueries, tmp_path: Path, seed: int, max_nodes: int
) -> None:
    discovery = find(
        queries, write_random_events(tmp_path, seed), steps=3, nodes=max_nodes, gap_ms=9 * DAY
    )
    nodes = {node.path: node for node in discovery.tree}
    assert len(nodes) == len(discovery.tree) <= max_nodes
    assert nodes[()].cases == discovery.journeys > 0
    child_cases: Counter[tuple[str, ...]] = Counter()
    for path, node in nodes.items():
        if path:
            assert path[:-1] in nodes
            child_cases[path[:-1]] += node.cases
    for path, node in nodes.items():
        ending_count = node.converted + node.dropped + node.unfinished + node.longer
        assert node.cases == child_cases[path] + ending_count + node.cut
        assert node.cut >= 0
        assert (node.cut == 0) or max_nodes < 100_000
    assert (
        sum(path.journeys for path in discovery.paths) + discovery.cut_journeys
        == discovery.journeys
    )
    assert discovery.converted + discovery.dropped + discovery.unfinished == discovery.journeys


def test_time_to_convert_counts_all_journeys(queries: DuckQueries, tmp_path: Path) -> None:
    discovery = find(queries, write_random_events(tmp_path, 1))
    curve = discovery.time_to_convert
    assert (curve.cases, curve.conversions) == (discovery.journeys, discovery.converted)
    assert find(queries, write_random_events(tmp_path, 1), goal=None).time_to_convert.cases == 0


def test_discovered_journeys_are_printed_as_one_document(tmp_path: Path) -> None:
    events = write_events(tmp_path, case("a", 0, "[red]x", "it's"))
    code, output, _ = run("--events", str(events), "--goal", "it's", "--gap", "3d", "--json")
    assert code == 0
    document = json.loads(output)
    assert document["paths"] == [
        {"path": ["[red]x", "it's"], "complete": True, "journeys": 1, "share": 1, "converted": 1}
    ]
    code, output, _ = run("--events", str(events), "--steps", "1")
    assert code == 0
    assert "[red]x > ..." in output


def test_empty_table_has_no_paths(tmp_path: Path) -> None:
    code, output, _ = run("--events", str(write_events(tmp_path)), "--goal", "x", "--json")
    assert code == 0
    assert json.loads(output)["journeys"] == 0
    assert "NaN" not in output
    assert run("--events", str(tmp_path / "events.csv"))[0] == 0


@pytest.mark.parametrize(
    "arguments", [("--details",), ("--early", "1d"), ("--window", "soon"), ("--steps", "0")]
)
def test_wrong_usage_exits_with_2(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    events = write_events(tmp_path, case("a", 0, "x"))
    assert run("--events", str(events), *arguments)[0] == 2
