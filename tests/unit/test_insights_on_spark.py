"""Insights on Spark equal those on DuckDB, up to rounding by another order of additions."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline.adapters.broker.java import find_java
from pipeline.adapters.journey_file import load_journey
from pipeline.config.model.journeys import Journey
from pipeline.insights.attribution import ModelOptions, attribute
from pipeline.insights.campaign_facts import Period, load_facts, load_goals
from pipeline.insights.campaigns import campaign_statistics
from pipeline.insights.case_choices import case_choices
from pipeline.insights.conformance import conformance
from pipeline.insights.daily import daily_series
from pipeline.insights.decision_log import GROUPINGS, DecisionLogOptions, load_decisions
from pipeline.insights.decision_sensitivity import decision_groups
from pipeline.insights.defined import follow_cases
from pipeline.insights.discovery import DiscoveryOptions, discover
from pipeline.insights.engines import Queries, open_duckdb, open_queries
from pipeline.insights.events import EventOptions, read_events
from pipeline.insights.impact_effects import impact_effects
from pipeline.insights.journey_details import journey_details
from pipeline.insights.message_credit import load_touches, message_journeys
from pipeline.insights.path_table import read_paths
from pipeline.insights.prompts import PromptOptions, ResultWeights, load_defined_steps, read_prompts
from pipeline.insights.recommend import RecommendationQuestion, recommend
from pipeline.insights.report.content import PlannedJourney, ReportQuestion, report_content
from pipeline.insights.segment_moves import CHANGES, segment_moves
from pipeline.insights.tables import Engine, TableError
from pipeline.insights.topic_events import load_topic_events
from pipeline.insights.topic_files import DECISIONS, SEGMENTED
from pipeline.insights.touches import TOUCH_KINDS, TouchOptions, read_touches
from pipeline.model.profile import SegmentChange
from pipeline.model.time import DAY_MS
from pipeline.simulate.offers import SALES
from tests.support.bank_campaigns import GOALS, bank_records
from tests.support.replayed import write_topic
from tests.support.spark import spark_problem

_PLAN = """
journey: sale
goal: {when: {name: Opened}, window: 20d}
enter: {when: {name: Started}}
exit: [{name: Left}]
steps:
  - {step: terms, mandatory: true, reached: {name: Terms}, within: 1h}
  - any_order:
      - {step: income, mandatory: true, reached: {name: Income}}
      - {step: photo, reached: {name: Photo, channel: web}}
  - {step: tour, reached: {name: Tour}}
  - {step: sign, mandatory: true, reached: {name: Sign}}
"""
_TABLES = {
    # Every other customer never converts; all pause for longer than a lookback.
    "touches": """
    SELECT 'p' || (i % 40) AS profile_id,
        1700000000000 + i * 7_000_000 + i // 300 * 4_000_000_000 AS occurred_at,
        CASE WHEN i % 18 = 8 THEN 'conversion' ELSE 'touch' END AS kind,
        'channel ' || (i * 7 % 5) AS channel,
        CASE WHEN i % 18 = 8 THEN i * 1.0 ELSE 0.0 END AS value
    FROM range(600) AS t(i)
""",
    "paths": """
    SELECT * FROM (VALUES ('a > b', 2.0, 9.5, 3.0), ('b', 1.0, 2.0, 0.0),
        ('b > a > a', 0.0, 0.0, 5.0), ('a > b', 1.0, 1.0, 1.0), (NULL, 1.0, 4.0, 0.0))
        AS t(path, conversions, value, nulls)
""",
    # Events of a case in the order of the plan or not, one in three of the steps left out.
    "events": """
    SELECT 'p' || (i // 7) AS case_id, 1700000000000 + i // 7 * 86400000
            + CASE WHEN hash(i) % 4 = 0 THEN 9 - i % 7 ELSE i % 7 END * 1700000 AS occurred_at,
        list_extract(['Started', 'Terms', 'Photo', 'Income', 'Tour', 'Sign', 'Opened'],
            (i % 7)::INT + 1) AS name,
        CASE WHEN hash(i, 1) % 3 = 0 THEN 'mail' ELSE 'web' END AS channel,
        'e' || (i - (hash(i, 2) % 40 = 0)::INT) AS event_id,
        CASE WHEN i // 7 % 2 = 0 THEN 'mail-first' ELSE 'call-first' END AS arm
    FROM range(2100) AS t(i) WHERE hash(i, 3) % 3 > 0
""",
    "prompts": """
    SELECT 'p' || (i // 2) AS case_id, 1700000000000 + i // 2 * 86400000 + i % 2 * 3000000
            AS occurred_at,
        CASE WHEN i % 2 = 0 THEN 'terms' ELSE 'Income' END AS step,
        CASE WHEN hash(i, 4) % 2 = 0 THEN 'mail' ELSE 'nothing' END AS channel, 0.5 AS propensity
    FROM range(600) AS t(i)
""",
}


pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(spark_problem()), reason=spark_problem() or "Spark is there"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small bank's topics, tables for the questions, and a planned journey."""
    folder = tmp_path_factory.mktemp("topics")
    records = bank_records(3, 40, 30)
    write_topic(folder, DECISIONS, records.decisions)
    write_topic(folder, SEGMENTED, records.segmented)
    write_topic(folder, CHANGES, list(_changes()))
    (folder / "plan.yaml").write_text(_PLAN)
    with open_duckdb(Engine()) as queries:
        for name, sql in _TABLES.items():
            file = folder / f"{name}.parquet"
            queries.connection.execute(f"COPY ({sql}) TO '{file}' (FORMAT parquet)")
    return folder


def _changes() -> Iterator[SegmentChange]:
    for number in range(60):
        for index, change in enumerate(("entered", "exited")[: 1 + number % 2]):
            changed_at = 1_700_000_000_000 + number * DAY_MS // 5 + index * DAY_MS
            yield SegmentChange(
                f"p{number % 20}", f"s{number % 3}", change, "why", changed_at, "cause", "c"
            )


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Queries]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("JAVA_HOME", str(find_java().executable.parent.parent))
        environment.setenv(
            "PYSPARK_SUBMIT_ARGS",
            "--master local[2] --driver-memory 512m --conf spark.sql.shuffle.partitions=1 --conf "
            f"spark.sql.warehouse.dir={tmp_path_factory.mktemp('warehouse')} pyspark-shell",
        )
        with open_queries("spark", Engine()) as queries:
            yield queries


def _ask_campaigns(queries: Queries, folder: Path) -> Any:
    support = load_facts(queries, folder, Period())
    load_goals(queries, GOALS)
    statistics = campaign_statistics(queries, support, GOALS)
    return asdict(statistics), asdict(impact_effects(queries, support.until_ms or 0))


def _ask_daily_series(queries: Queries, folder: Path) -> Any:
    log = load_topic_events(queries, folder, "platform", None)
    series = daily_series(log, SALES[0].goal)
    trials = [None if daily.trials is None else daily.trials.tolist() for daily in series]
    return (
        log.rows,
        log.end,
        [(daily.name, daily.channel, daily.counts.tolist()) for daily in series],
        trials,
    )


def _ask_paths(queries: Queries, folder: Path) -> Any:
    log = load_topic_events(queries, folder, None, None)
    return asdict(discover(log, DiscoveryOptions(SALES[0].goal, 5 * DAY_MS, DAY_MS, 4)))


def _ask_attribution(queries: Queries, folder: Path) -> Any:
    journeys = read_touches(queries, folder / "touches.parquet", TouchOptions())
    paths = journeys.path_counts()
    attributions = [attribute(model, ModelOptions(), paths) for model in ("markov", "position")]
    channels_by_model = [
        sorted(attribution.channels, key=lambda channel: channel.channel)
        for attribution in attributions
    ]
    credits = [[asdict(channel) for channel in channels] for channels in channels_by_model]
    return credits, asdict(journeys.support()), journeys.time_decay(DAY_MS)[0].conversions.tolist()


def _ask_message_credit(queries: Queries, folder: Path) -> Any:
    load_facts(queries, folder, Period())
    counts = [load_touches(queries, SALES[0].goal, touch_kind) for touch_kind in TOUCH_KINDS]
    journeys = message_journeys(queries, folder, TouchOptions(unit="message"))
    credits = attribute("linear", ModelOptions(), journeys.path_counts())
    channels = sorted(credits.channels, key=lambda channel: channel.channel)
    return [asdict(count) for count in counts], [asdict(channel) for channel in channels]


def _ask_path_table(queries: Queries, folder: Path) -> Any:
    paths = read_paths(queries, folder / "paths.parquet")
    return asdict(attribute("markov", ModelOptions(order=2), paths))


def _ask_decisions(queries: Queries, folder: Path) -> Any:
    groups = []
    for grouping in GROUPINGS:
        load_decisions(queries, folder, DecisionLogOptions(grouping))
        groups.append([asdict(group) for group in decision_groups(queries)])
    return groups


def _ask_segments(queries: Queries, folder: Path) -> Any:
    return [asdict(move) for move in segment_moves(queries, folder, None)]


def _ask_defined_journey(queries: Queries, folder: Path) -> Any:
    log = read_events(queries, folder / "events.parquet", EventOptions())
    comparison = follow_cases(log, _load_plan(folder), folder / "plan.yaml")
    return (
        log.rows,
        log.repeated_rows,
        asdict(conformance(comparison)),
        asdict(journey_details(comparison)),
    )


def _ask_recommended_changes(queries: Queries, folder: Path) -> Any:
    journey = _load_plan(folder)
    log = read_events(queries, folder / "events.parquet", EventOptions())
    cases = follow_cases(log, journey, folder / "plan.yaml")
    choices = case_choices(cases, ResultWeights(day=0.01), ())
    steps = load_defined_steps(log, [step.name for step in cases.plan.steps])
    prompts = read_prompts(log, folder / "prompts.parquet", PromptOptions(), steps)
    return asdict(recommend(RecommendationQuestion(prompts, choices, ResultWeights(), (), journey)))


def _ask_report(queries: Queries, folder: Path) -> Any:
    plan = PlannedJourney(_load_plan(folder), folder)
    question = ReportQuestion(
        folder, Period(), (), GOALS, SALES[0].goal, "platform", plan, 2.0, "en"
    )
    content = msgspec.to_builtins(report_content(queries, question))
    # Bounds depend on other draws; equal credits come in any order.
    for attribution in content["attribution"]:
        attribution["rows"] = sorted(row[:3] for row in attribution["rows"])
    return content


def _load_plan(folder: Path) -> Journey:
    journey = load_journey(folder / "plan.yaml")
    assert isinstance(journey, Journey)
    return journey


@pytest.mark.parametrize(
    "ask",
    [
        *(
            _ask_campaigns,
            _ask_daily_series,
            _ask_paths,
            _ask_attribution,
            _ask_message_credit,
            _ask_path_table,
        ),
        *(
            _ask_decisions,
            _ask_segments,
            _ask_defined_journey,
            _ask_recommended_changes,
            _ask_report,
        ),
    ],
)
def test_figures_are_equal(
    ask: Callable[[Queries, Path], Any], spark: Queries, folder: Path
) -> None:
    with open_duckdb(Engine()) as queries:
        expected = ask(queries, folder)
    _assert_alike(ask(spark, folder), expected)


def test_wrong_cell_is_named(spark: Queries, tmp_path: Path) -> None:
    file = tmp_path / "touches.parquet"
    with open_duckdb(Engine()) as queries:
        queries.connection.execute(
            "COPY (SELECT 'p' AS profile_id, 1700000000000 AS occurred_at, 'touch' AS kind, "
            f"'a' AS channel, -1.0 AS value) TO '{file}' (FORMAT parquet)"
        )
    with pytest.raises(TableError, match=r"value: '-1.0' is negative"):
        read_touches(spark, file, TouchOptions())


def _assert_alike(actual: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert actual.keys() == expected.keys()
        for key, value in expected.items():
            _assert_alike(actual[key], value)
    elif isinstance(expected, list | tuple):
        assert len(actual) == len(expected)
        for actual_element, expected_element in zip(actual, expected, strict=True):
            _assert_alike(actual_element, expected_element)
    elif isinstance(expected, float):
        assert actual == pytest.approx(expected, rel=1e-9, abs=1e-9)
    else:
        assert actual == expected
