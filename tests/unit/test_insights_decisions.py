"""Factors of decisions: figures equal a plain count over the records, on DuckDB and on Spark."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from pipeline.adapters.broker.java import find_java
from pipeline.cli.main import build_app
from pipeline.insights.decision_log import DecisionGrouping, DecisionLogOptions, load_decisions
from pipeline.insights.decision_sensitivity import DecisionGroup, decision_groups
from pipeline.insights.engines import open_queries
from pipeline.insights.tables import Engine
from pipeline.model.decision import Candidate, Decision
from pipeline.model.stages import Segmented
from pipeline.model.time import DAY_MS
from tests.support.replayed import as_segmented, event, write_topic
from tests.support.spark import spark_problem

_START_MS = 1_704_067_200_000
_OFFERS = ("card", "loan", "insurance", "travel")
_RULES = ("eligibility/adult", "suitability/debt", "applicability/trigger", "eligibility/o'clock")


def _draw_records(count: int = 400) -> tuple[list[Decision], list[Segmented]]:
    """Return decisions as arbitration makes them, in which the best score above 0 beats the others,
    and the segmented records that they follow from."""
    random = np.random.default_rng(5)
    decisions, segmented = [], []
    for number in range(count):
        decided_at = _START_MS + number * DAY_MS // 60
        profile = f"p{random.integers(0, 40)}"
        rejections = {
            str(rule): (f"{random.choice(_OFFERS)}-web", "never-shown")
            for rule in random.choice(_RULES, random.integers(0, 3), replace=False)
        }
        candidates = _candidates(random, "home") if random.random() < 0.8 else []
        if random.random() < 0.3:
            candidates += _candidates(random, "email")
        decisions.append(
            Decision(
                f"d{number}", f"e{number}", profile, "c", decided_at,
                candidates=tuple(candidates), rejected=rejections,
            )
        )  # fmt: skip
        members = tuple(str(segment) for segment in ("gold", "new") if random.random() < 0.5)
        segmented.append(as_segmented(profile, event(f"e{number}", "Home", decided_at), members))
    return decisions, segmented


def _candidates(random: np.random.Generator, slot: str) -> list[Candidate]:
    candidates = []
    for offer in random.choice(_OFFERS, random.integers(1, 4), replace=False):
        p, value, cost = random.random() * 0.3, random.random() * 60, random.random() * 6
        weight = float(random.choice([0.5, 1.0, 2.0]))
        score = (p * value - cost) * weight
        candidates.append(
            Candidate(
                slot, "c", str(offer), f"{offer}-{slot}", slot, value, cost, score, "", p, weight
            )
        )
    candidates.sort(key=lambda candidate: -candidate.score)
    fates, winner = [], None
    for candidate in candidates:
        if random.random() < 0.2:
            fates.append(str(random.choice(["cap daily", "consent ads", "content title"])))
        elif winner is not None:
            fates.append(f"beaten by {winner}")
        elif candidate.score <= 0:
            fates.append("beaten by nothing")
        else:
            winner = candidate.treatment
            fates.append("held out by all" if random.random() < 0.1 else "chosen")
    return [
        msgspec.structs.replace(candidate, fate=fate)
        for candidate, fate in zip(candidates, fates, strict=True)
    ]


@dataclass(frozen=True)
class DecisionTopics:
    """Folder of replayed topics, and the records in it."""

    folder: Path
    decisions: list[Decision]
    segmented: list[Segmented]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> DecisionTopics:
    folder = tmp_path_factory.mktemp("topics")
    decisions, segmented = _draw_records()
    write_topic(folder, "decisions", decisions)
    write_topic(folder, "interactions.segmented", segmented)
    return DecisionTopics(folder, decisions, segmented)


def _query_duckdb(
    folder: Path, grouping: DecisionGrouping = "all", **options: int
) -> tuple[DecisionGroup, ...]:
    with open_queries("duckdb", Engine(threads=1)) as queries:
        load_decisions(queries, folder, DecisionLogOptions(grouping, **options))
        return decision_groups(queries)


def _yield_contests(
    decisions: list[Decision],
) -> Iterator[tuple[Candidate | None, list[Candidate]]]:
    """Yield each slot's winner, and all candidates that compete by their scores."""
    for decision in decisions:
        for slot in {candidate.slot for candidate in decision.candidates}:
            own_candidates = [
                candidate for candidate in decision.candidates if candidate.slot == slot
            ]
            winners = [
                candidate
                for candidate in own_candidates
                if candidate.fate == "chosen" or "held out" in candidate.fate
            ]
            losers = [
                candidate for candidate in own_candidates if candidate.fate.startswith("beaten by ")
            ]
            if winners or losers:
                yield (winners[0] if winners else None), winners + losers


def _best_treatment(scores: dict[str, float]) -> str | None:
    treatment = max(scores, key=lambda treatment: scores[treatment])
    return treatment if scores[treatment] > 0 else None


def test_sensitivity_counts_decisions_that_differ_without_the_factor(
    log: DecisionTopics,
) -> None:
    folder, decisions = log.folder, log.decisions
    [group] = _query_duckdb(folder)
    changes: Counter[str] = Counter()
    contest_count = 0
    for winner, own_candidates in _yield_contests(decisions):
        contest_count += 1
        p = sum(candidate.p for candidate in own_candidates) / len(own_candidates)
        value = sum(candidate.value for candidate in own_candidates) / len(own_candidates)
        score_functions: dict[str, Callable[[Candidate], float]] = {
            "p": lambda candidate, p=p: (p * candidate.value - candidate.cost) * candidate.weight,  # type: ignore[misc]
            "value": lambda candidate, v=value: (
                (candidate.p * v - candidate.cost) * candidate.weight
            ),  # type: ignore[misc]
            "cost": lambda candidate: candidate.p * candidate.value * candidate.weight,
            "weight": lambda candidate: candidate.p * candidate.value - candidate.cost,
        }
        for factor, score in score_functions.items():
            treatment = _best_treatment(
                {candidate.treatment: score(candidate) for candidate in own_candidates}
            )
            changes[factor] += treatment != (winner and winner.treatment)
    assert {factor.factor: factor.changed for factor in group.sensitivity} == dict(changes)
    assert {factor.contests for factor in group.sensitivity} == {contest_count}
    assert all(factor.changed for factor in group.sensitivity)
    losses = Counter(
        (candidate.offer, winner.offer if winner else "nothing")
        for winner, own_candidates in _yield_contests(decisions)
        for candidate in own_candidates
        if candidate is not winner
    )
    assert {(loss.offer, loss.to): loss.times for loss in group.losses} == losses


def test_funnel_begins_with_all_and_ends_with_the_chosen(
    log: DecisionTopics,
) -> None:
    folder, decisions = log.folder, log.decisions
    for grouping in ("all", "segment", "day", "week", "month"):
        for group in _query_duckdb(folder, grouping):
            assert group.funnel[-1].left == group.chosen
            remaining_count = group.candidates
            for rule in group.funnel:
                assert rule.left == remaining_count - rule.fell
                remaining_count = rule.left
            means = {step.after: step.mean_left for step in group.optionality}
            for rule in group.funnel:
                assert means[rule.rule] == pytest.approx(rule.left / group.decisions)
            for step in group.optionality:
                assert sum(step.customers.values()) == group.customers
    [all_decisions] = _query_duckdb(folder)
    rejection_counts = Counter(
        rule for decision in decisions for rule, names in decision.rejected.items() for _ in names
    )
    assert {
        row.rule: row.fell for row in all_decisions.funnel if row.rule in _RULES
    } == rejection_counts
    assert [row.stage for row in all_decisions.funnel][:2] == ["trigger", "eligibility"]
    [loser] = [
        treatment for treatment in all_decisions.never_won if treatment.treatment == "never-shown"
    ]
    assert (loser.offer, loser.candidate, loser.mostly) == (
        None,
        0,
        rejection_counts.most_common()[0][0],
    )
    assert loser.considered == sum(
        "never-shown" in n for d in decisions for n in d.rejected.values()
    )


def test_groups_are_the_decisions_of_their_customers_and_times(
    log: DecisionTopics,
) -> None:
    folder, decisions, segmented = log.folder, log.decisions, log.segmented
    considered_decisions = {
        decision.decision_id: decision
        for decision in decisions
        if decision.candidates or decision.rejected
    }
    members = {record.interaction.event_id: record.segments.members for record in segmented}  # type: ignore[union-attr]
    expected = Counter(
        segment
        for decision in considered_decisions.values()
        for segment in members[decision.event_id]
    )
    assert {group.group: group.decisions for group in _query_duckdb(folder, "segment")} == expected
    counts_by_day = Counter(
        datetime.fromtimestamp(decision.decided_at / 1000, UTC).date().isoformat()
        for decision in considered_decisions.values()
    )
    assert {group.group: group.decisions for group in _query_duckdb(folder, "day")} == counts_by_day
    [one_day] = _query_duckdb(folder, since=_START_MS + DAY_MS, until=_START_MS + 2 * DAY_MS)
    assert one_day.decisions == counts_by_day["2024-01-02"]


@pytest.mark.skipif(not spark_problem(), reason="Spark is there")
def test_missing_spark_names_its_package(tmp_path: Path, invoke: Callable[..., Result]) -> None:
    result = invoke("--topics", str(tmp_path), "--engine", "spark")
    assert "install kairos-rtim[spark]" in str(result.exception)


@pytest.mark.timeout(400)
@pytest.mark.skipif(bool(spark_problem()), reason=spark_problem() or "Spark is there")
def test_spark_gives_the_same_figures(
    log: DecisionTopics,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = log.folder
    monkeypatch.setenv("JAVA_HOME", str(find_java().executable.parent.parent))
    monkeypatch.setenv(
        "PYSPARK_SUBMIT_ARGS",
        "--master local[2] --driver-memory 512m --conf spark.sql.shuffle.partitions=2 "
        f"--conf spark.sql.warehouse.dir={tmp_path} pyspark-shell",
    )
    with open_queries("spark", Engine()) as queries:
        load_decisions(queries, folder, DecisionLogOptions("segment"))
        assert [asdict(group) for group in decision_groups(queries)] == [
            asdict(group) for group in _query_duckdb(folder, "segment")
        ]
        load_decisions(queries, folder, DecisionLogOptions("week", since=_START_MS + DAY_MS))
        spark_weeks = queries.rows("SELECT grp, count(*) FROM decided GROUP BY grp ORDER BY grp")
        _create_catalog_table(folder / "decisions")
        load_decisions(queries, Path("tables:kairos"), DecisionLogOptions("month"))
        spark_months = queries.rows("SELECT grp, count(*) FROM decided GROUP BY grp ORDER BY grp")
    assert spark_months == [
        (group.group, group.decisions) for group in _query_duckdb(folder, "month")
    ]
    weeks = _query_duckdb(folder, "week", since=_START_MS + DAY_MS)
    assert spark_weeks == [(group.group, group.decisions) for group in weeks]


def _create_catalog_table(folder: Path) -> None:
    """Create the table that a sink of the topic writes: times in ms, no columns of Kafka."""
    from pyspark.sql import SparkSession

    session = SparkSession.getActiveSession()
    assert session is not None
    session.sql("CREATE DATABASE IF NOT EXISTS kairos")
    session.read.parquet(str(folder)).createOrReplaceTempView("replayed")
    session.sql(
        "CREATE TABLE kairos.decisions USING parquet AS SELECT decision_id, event_id, profile_id, "
        "unix_millis(decided_at) AS decided_at, choices, candidates, rejected FROM replayed"
    )


def test_data_beyond_the_memory_goes_to_disk(tmp_path: Path) -> None:
    # Sorting these rows takes some 150 MB; 60 MB and a folder are enough.
    with open_queries("duckdb", Engine("60MB", tmp_path, threads=1)) as queries:
        queries.define(
            "wide",
            "SELECT md5(CAST(i AS VARCHAR)) AS a, md5(CAST(i + 1 AS VARCHAR)) AS b "
            "FROM range(1200000) AS t(i)",
        )
        spilled_sizes = [file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()]
        [(count, ordered_count)] = queries.rows(
            "SELECT count(*), sum(CASE WHEN before <= a THEN 1 ELSE 0 END) FROM "
            "(SELECT a, lag(a) OVER (ORDER BY a) AS before FROM wide) AS sorted"
        )
    assert (count, ordered_count) == (1_200_000, 1_199_999)
    assert sum(spilled_sizes) > 1_000_000
    assert not list(tmp_path.iterdir())


@pytest.fixture
def invoke() -> Callable[..., Result]:
    return lambda *arguments: CliRunner().invoke(
        build_app("insights"), ["insights", "decisions", *arguments]
    )


def test_command_prints_tables_or_json(log: DecisionTopics, invoke: Callable[..., Result]) -> None:
    result = invoke("--topics", str(log.folder), "--by", "segment", "--json")
    assert result.exit_code == 0, result.output
    document: Any = msgspec.json.decode(result.stdout)
    assert [group["group"] for group in document["groups"]] == ["gold", "new"]
    result = invoke("--topics", str(log.folder))
    assert result.exit_code == 0, result.output
    assert "cap daily" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "has no Parquet files"),
        (("--by", "hour"), "is none of all, segment"),
        (("--engine", "mongo"), "is none of duckdb, spark"),
    ],
)
def test_invalid_questions_are_refused_with_a_reason(
    tmp_path: Path, invoke: Callable[..., Result], arguments: tuple[str, ...], words: str
) -> None:
    result = invoke("--topics", str(tmp_path), *arguments)
    assert result.exit_code != 0
    assert words in " ".join(f"{result.exception} {result.output}".replace("│", " ").split())
