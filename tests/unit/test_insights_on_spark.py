"""Insights on Spark are those on DuckDB, up to the order in which numbers are added."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from pipeline.adapters.broker.java import find_java
from pipeline.insights.attribution import ModelOptions, attribute
from pipeline.insights.campaign_facts import Period, load_facts, load_goals
from pipeline.insights.campaigns import campaign_statistics
from pipeline.insights.daily import daily_series
from pipeline.insights.discovery import DiscoveryOptions, discover
from pipeline.insights.engines import Queries, open_duckdb, open_queries
from pipeline.insights.impact_effects import impact_effects
from pipeline.insights.tables import Engine, TableError
from pipeline.insights.topic_events import topic_events
from pipeline.insights.topic_files import DECISIONS, SEGMENTED
from pipeline.insights.touches import TouchOptions, read_touches
from pipeline.model.time import DAY_MS
from pipeline.simulate.offers import SALES
from tests.support.bank_campaigns import GOALS, bank_records
from tests.support.replayed import write_topic
from tests.support.spark import spark_is_missing

_TOUCHES = """
COPY (
    SELECT 'p' || (i % 40) AS profile_id, 1700000000000 + i * 7_000_000 AS occurred_at,
        CASE WHEN i % 9 = 8 THEN 'conversion' ELSE 'touch' END AS kind,
        'channel ' || (i * 7 % 5) AS channel, CASE WHEN i % 9 = 8 THEN i * 1.0 ELSE 0.0 END AS value
    FROM range(600) AS t(i)
) TO '{}' (FORMAT parquet)
"""


pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(spark_is_missing()), reason=spark_is_missing() or "Spark is there"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Topics of a small bank, and a table of touches."""
    folder = tmp_path_factory.mktemp("topics")
    records = bank_records(3, 40, 30)
    write_topic(folder, DECISIONS, records.decisions)
    write_topic(folder, SEGMENTED, records.segmented)
    with open_duckdb(Engine()) as queries:
        queries.connection.execute(_TOUCHES.format(folder / "touches.parquet"))
    return folder


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Queries]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("JAVA_HOME", str(find_java().executable.parent.parent))
        patched.setenv(
            "PYSPARK_SUBMIT_ARGS",
            "--master local[2] --driver-memory 512m --conf spark.sql.shuffle.partitions=1 --conf "
            f"spark.sql.warehouse.dir={tmp_path_factory.mktemp('warehouse')} pyspark-shell",
        )
        with open_queries("spark", Engine()) as queries:
            yield queries


def _campaigns(queries: Queries, folder: Path) -> Any:
    support = load_facts(queries, folder, Period())
    load_goals(queries, GOALS)
    found = campaign_statistics(queries, support, {})
    return asdict(found), asdict(impact_effects(queries, support.until_ms or 0))


def _daily(queries: Queries, folder: Path) -> Any:
    log = topic_events(queries, folder, "platform", None)
    series = daily_series(log, SALES[0].goal)
    trials = [None if one.trials is None else one.trials.tolist() for one in series]
    return (
        log.rows,
        log.end,
        [(one.name, one.channel, one.counts.tolist()) for one in series],
        trials,
    )


def _paths(queries: Queries, folder: Path) -> Any:
    log = topic_events(queries, folder, None, None)
    return asdict(discover(log, DiscoveryOptions(SALES[0].goal, 5 * DAY_MS, DAY_MS, 4)))


def _attribution(queries: Queries, folder: Path) -> Any:
    journeys = read_touches(queries, folder / "touches.parquet", TouchOptions())
    paths = journeys.path_counts()
    found = [attribute(one, ModelOptions(), paths) for one in ("markov", "position")]
    by_name = [sorted(one.channels, key=lambda channel: channel.channel) for one in found]
    credits = [[asdict(channel) for channel in channels] for channels in by_name]
    return credits, asdict(journeys.support()), journeys.time_decay(DAY_MS)[0].conversions.tolist()


@pytest.mark.parametrize("ask", [_campaigns, _daily, _paths, _attribution])
def test_figures_are_equal(
    ask: Callable[[Queries, Path], Any], spark: Queries, folder: Path
) -> None:
    with open_duckdb(Engine()) as queries:
        expected = ask(queries, folder)
    _assert_alike(ask(spark, folder), expected)


def test_a_wrong_cell_is_named(spark: Queries, tmp_path: Path) -> None:
    file = tmp_path / "touches.parquet"
    with open_duckdb(Engine()) as queries:
        queries.connection.execute(
            "COPY (SELECT 'p' AS profile_id, 1700000000000 AS occurred_at, 'touch' AS kind, "
            f"'a' AS channel, -1.0 AS value) TO '{file}' (FORMAT parquet)"
        )
    with pytest.raises(TableError, match=r"value: '-1.0' is negative"):
        read_touches(spark, file, TouchOptions())


def _assert_alike(found: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, one in expected.items():
            _assert_alike(found[key], one)
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for each, one in zip(found, expected, strict=True):
            _assert_alike(each, one)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)
    else:
        assert found == expected
