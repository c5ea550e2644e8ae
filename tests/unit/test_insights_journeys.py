"""`kairos insights journeys --defined`: cases, fitness, funnel and drop-offs of small tables."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.cli.main import build_app
from pipeline.insights.engines import open_duckdb
from pipeline.insights.tables import Engine
from tests.support.attribution import write_csv, write_parquet
from tests.support.journeys import (
    DAY,
    ONBOARDING,
    START,
    case,
    write_events,
    write_journey,
)

HEADER = "case_id,occurred_at,name,channel"
KEYS = ["cases", "variants", "fits_share", "mean_fitness", "funnel", "drop_offs"]
LATER_EVENT = case("late", 60, "other")
"""Event of another customer, after the windows of all earlier cases."""


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(build_app("insights"), ["insights", "journeys", *arguments])
    message = str(result.exception) if result.exception and result.exit_code == 1 else ""
    return result.exit_code, result.stdout, " ".join(f"{result.stderr} {message}".split())


def analyse(file: Path, journey: Path, *options: str) -> dict[str, Any]:
    code, output, error = run("--events", str(file), "--defined", str(journey), "--json", *options)
    assert code == 0, error
    assert "NaN" not in output
    assert "Infinity" not in output
    document = json.loads(output)
    assert isinstance(document, dict)
    return document


def funnel(answer: dict[str, Any]) -> dict[str, int]:
    return {step["step"]: step["cases"] for step in answer["funnel"]}


def drop_offs(answer: dict[str, Any]) -> dict[str | None, int]:
    return {drop_off["after"]: drop_off["cases"] for drop_off in answer["drop_offs"]}


def test_defined_journey_prints_its_contract(tmp_path: Path) -> None:
    events = write_events(
        tmp_path,
        case("a", 0, "start", "terms", "photo", "income", "open"),
        case("b", 0, "start", "page", "terms", "income"),
        case("c", 0, "start", "income", "terms"),
        case("d", 0, "start", "terms", "terms", "income", "open"),
        case("e", 0, "start", "page"),
        LATER_EVENT,
    )
    answer = analyse(events, write_journey(tmp_path))
    assert list(answer) == KEYS
    assert answer["cases"] == 6
    assert answer["variants"] == [
        {"path": [], "cases": 2, "fitness": 0.0, "fits": False},
        {"path": ["terms", "terms", "income"], "cases": 1, "fitness": 0.8, "fits": False},
        {"path": ["terms", "income"], "cases": 1, "fitness": 1.0, "fits": True},
        {"path": ["terms", "photo", "income"], "cases": 1, "fitness": 1.0, "fits": True},
        {"path": ["income", "terms"], "cases": 1, "fitness": 0.5, "fits": False},
    ]
    assert answer["fits_share"] == 2 / 6
    assert answer["mean_fitness"] == pytest.approx((0.8 + 1 + 1 + 0.5) / 6)
    assert answer["funnel"] == [
        {"step": "terms", "cases": 4},
        {"step": "income", "cases": 3},
        {"step": "photo", "cases": 1},
    ]
    assert answer["drop_offs"] == [
        {"after": None, "cases": 1, "share": 1 / 6},
        {"after": "terms", "cases": 1, "share": 1 / 6},
        {"after": "income", "cases": 1, "share": 1 / 6},
    ]


def test_csv_and_parquet_give_the_same_answer(tmp_path: Path) -> None:
    lines = [*case("a", 0, "start", "terms", "income"), *case("b", 9, "terms"), *LATER_EVENT]
    keys = HEADER.split(",")
    rows = [dict(zip(keys, line.split(","), strict=True)) for line in lines]
    typed_rows = [{**row, "occurred_at": int(row["occurred_at"])} for row in rows]
    journey = write_journey(tmp_path)
    expected = analyse(write_events(tmp_path, lines), journey)
    assert analyse(write_parquet(tmp_path / "e.parquet", typed_rows), journey) == expected


def test_windows_that_are_not_over_are_no_drop_offs(tmp_path: Path) -> None:
    old_case, young_case = case("old", 0, "start", "terms"), case("young", 10, "start", "terms")
    end = case("end", 31, "start")
    answer = analyse(write_events(tmp_path, old_case, young_case, end), write_journey(tmp_path))
    assert answer["cases"] == 3
    assert drop_offs(answer) == {"terms": 1}
    assert funnel(answer)["terms"] == 2


def test_until_is_the_end_of_the_table(tmp_path: Path) -> None:
    events = write_events(tmp_path, case("a", 0, "start", "terms"))
    journey = write_journey(tmp_path)
    assert drop_offs(analyse(events, journey)) == {}
    assert drop_offs(analyse(events, journey, "--until", "2024-03-01")) == {"terms": 1}
    assert analyse(events, journey, "--until", "2023-03-01")["cases"] == 0


def test_exit_ends_a_case_before_its_window_does(tmp_path: Path) -> None:
    events = write_events(
        tmp_path,
        case("left", 0, "start", "terms", "cancel", "open"),
        case("goal-first", 0, "start", "terms", "open", "cancel"),
    )
    assert drop_offs(analyse(events, write_journey(tmp_path))) == {"terms": 1}


def test_goal_counts_within_its_window_from_entering(tmp_path: Path) -> None:
    window_days = 30

    def case_with_goal(name: str, entry_day: float, goal_day: float) -> list[str]:
        return [*case(name, entry_day, "start"), *case(name, goal_day, "open")]

    timely_case, late_case = (
        case_with_goal("inside", 1, window_days + 0.99),
        case_with_goal("after", 1, window_days + 1),
    )
    early_case = [*case("before", 0, "open"), *case("before", 1, "start")]
    answer = analyse(
        write_events(tmp_path, timely_case, late_case, early_case, LATER_EVENT),
        write_journey(tmp_path),
    )
    assert drop_offs(answer) == {None: 2}


def test_last_mandatory_step_is_the_goal_by_default(tmp_path: Path) -> None:
    text = ONBOARDING.replace("goal: {when: {name: Account Opened}, window: 30d}\n", "")
    events = write_events(
        tmp_path, case("a", 0, "terms", "income"), case("b", 0, "terms"), case("c", 0, "income")
    )
    assert drop_offs(analyse(events, write_journey(tmp_path, text))) == {None: 1, "terms": 1}


def test_events_come_in_the_order_of_their_times_then_of_the_table(tmp_path: Path) -> None:
    reversed_case = case("a", 0, "terms", "income")[::-1]
    moment = START + 5 * DAY
    simultaneous_case = [f"b,{moment},Terms Accepted,", f"b,{moment},Income Given,"]
    swapped_case = [f"c,{moment},Income Given,", f"c,{moment},Terms Accepted,"]
    answer = analyse(
        write_events(tmp_path, reversed_case, simultaneous_case, swapped_case),
        write_journey(tmp_path),
    )
    paths = {tuple(variant["path"]): variant["cases"] for variant in answer["variants"]}
    assert paths == {("terms", "income"): 2, ("income", "terms"): 1}


def test_event_id_counts_once(tmp_path: Path) -> None:
    lines = [f"{HEADER},event_id"]
    lines += [f"{line},same" for line in case("a", 0, "terms", "terms")]
    lines += [f"{line}," for line in case("b", 0, "terms", "terms")]
    answer = analyse(write_csv(tmp_path / "e.csv", lines), write_journey(tmp_path))
    assert sorted(variant["path"] for variant in answer["variants"]) == [
        ["terms"],
        ["terms", "terms"],
    ]


def test_step_may_require_a_channel(tmp_path: Path) -> None:
    text = ONBOARDING.replace("{name: Terms Accepted}", "{name: Terms Accepted, channel: app}")
    events = write_events(tmp_path, case("a", 0, "terms"), case("b", 0, "terms", channel="app"))
    assert funnel(analyse(events, write_journey(tmp_path, text)))["terms"] == 1


@pytest.mark.parametrize("name", ["a > b", "[red]x[/]", 'quo"te', "ñandú 😀", "'; DROP", "%s{0}"])
def test_any_name_of_an_event_is_accepted(tmp_path: Path, name: str) -> None:
    quoted_name = json.dumps(name, ensure_ascii=False)
    text = ONBOARDING.replace("{name: Terms Accepted}", f"{{name: {quoted_name}}}")
    cell = '"' + name.replace('"', '""') + '"'
    lines = [HEADER, f"{cell},{START},{cell},{cell}", f"b,{START + 60 * DAY},x,y"]
    events, journey = write_csv(tmp_path / "e.csv", lines), write_journey(tmp_path, text)
    assert funnel(analyse(events, journey))["terms"] == 1
    code, output, _ = run("--events", str(events), "--defined", str(journey))
    assert code == 0
    assert "terms" in output


def test_tables_for_people_show_the_same_figures(tmp_path: Path) -> None:
    events = write_events(tmp_path, case("a", 0, "start", "terms", "income"), LATER_EVENT)
    code, output, _ = run("--events", str(events), "--defined", str(write_journey(tmp_path)))
    words = " ".join(output.split())
    assert code == 0
    assert "onboarding: paths of 2 cases" in words
    assert "terms > income 1 1.00 yes" in words
    assert "50.0% went as planned, mean fitness 0.50" in words


def test_steps_missing_from_the_table_are_reported(tmp_path: Path) -> None:
    events = write_events(tmp_path, case("a", 0, "start", "Terms Acepted"))
    journey = write_journey(tmp_path)
    code, output, error = run("--events", str(events), "--defined", str(journey), "--json")
    assert code == 0
    assert json.loads(output)["variants"] == [
        {"path": [], "cases": 1, "fitness": 0.0, "fits": False}
    ]
    assert f"{journey}: no event reaches the step 'terms'" in error
    assert "'Terms Accepted': did you mean 'Terms Acepted'?" in error


def test_empty_table_has_no_shares(tmp_path: Path) -> None:
    answer = analyse(write_events(tmp_path), write_journey(tmp_path))
    assert answer == {
        "cases": 0,
        "variants": [],
        "fits_share": None,
        "mean_fitness": None,
        "funnel": [{"step": step, "cases": 0} for step in ("terms", "income", "photo")],
        "drop_offs": [],
    }
    code, _, _ = run(
        "--events", str(tmp_path / "events.csv"), "--defined", str(tmp_path / "journey.yaml")
    )
    assert code == 0


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([], "e.csv: is empty, without even a header"),
        (["case_id,name", "a,b"], "has no column 'occurred_at'; it has case_id, name"),
        ([HEADER, "a,2024-01-01 10:00:00,x,web"], "e.csv:2: occurred_at: '2024-01-01 10:00"),
        ([HEADER, "a,yesterday,x,web"], "e.csv:2: occurred_at: 'yesterday' is not a time"),
        ([HEADER, f"a,{START}000,x,web"], "e.csv:2: occurred_at: '1704067200000000' is not a time"),
        ([HEADER, "a,999999999999999,x,web"], "is after the year 9999"),
        ([HEADER, f"a,{START},x,web", f",{START},x,web"], "e.csv:3: case_id: is blank"),
        ([HEADER, f"a,{START},,web"], "e.csv:2: name: is blank"),
        ([HEADER, f"a,{START},x,web", f"a,{START}"], "e.csv:3: has 2 columns instead of 4"),
        ([HEADER, f'a,{START},"x,web'], "e.csv:2: a quotation mark is never closed"),
    ],
)  # fmt: skip
def test_bad_tables_are_refused_with_their_place(
    tmp_path: Path, lines: Sequence[str], reason: str
) -> None:
    file = write_csv(tmp_path / "e.csv", lines)
    code, _, error = run("--events", str(file), "--defined", str(write_journey(tmp_path)))
    assert code == 1
    assert reason in error


def test_too_little_memory_is_reported(tmp_path: Path) -> None:
    lines = [line for number in range(20_000) for line in case(f"c{number}", 0, *"xyz")]
    events, journey = write_events(tmp_path, lines), write_journey(tmp_path)
    code, _, error = run("--events", str(events), "--defined", str(journey), "--memory", "2MB")
    assert code == 1
    assert "needs more memory than allowed: raise --memory" in error


def test_settings_limit_memory_and_name_the_spill_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [line for number in range(20_000) for line in case(f"c{number}", 0, *"xyz")]
    first_arguments = ("--events", str(write_events(tmp_path, lines)), "--defined")
    options_with_files = (*first_arguments, str(write_journey(tmp_path)))
    monkeypatch.setenv("KAIROS_INSIGHTS_MEMORY", "2MB")
    code, _, error = run(*options_with_files)
    assert (code, "raise --memory (KAIROS_INSIGHTS_MEMORY)" in error) == (1, True)
    code, _, _ = run(*options_with_files, "--memory", "1GB")
    assert code == 0
    monkeypatch.setenv("KAIROS_INSIGHTS_MEMORY", "1GB")
    monkeypatch.setenv("KAIROS_INSIGHTS_SPILL", str(tmp_path / "no"))
    code, _, error = run(*options_with_files)
    assert (code, "no, for what does not fit into memory: is not a folder" in error) == (1, True)


def test_parquet_file_that_was_cut_is_refused(tmp_path: Path) -> None:
    rows = [{"case_id": "a", "occurred_at": START, "name": "x"}] * 100
    file = write_parquet(tmp_path / "e.parquet", rows)
    file.write_bytes(file.read_bytes()[:-30])
    code, _, error = run("--events", str(file), "--defined", str(write_journey(tmp_path)))
    assert code == 1
    assert "e.parquet: is damaged or was cut" in error


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        (
            "{property: total, gt: 3}",
            "the step 'terms' reads property total, and a table of events",
        ),
        ("{segment: buyers}", "the step 'terms' reads segment buyers"),
        ("{kind: track}", "the step 'terms' reads kind"),
        ("{any: [{name: x}, {channel: web}]}", "reaches the steps 'terms' and 'income'"),
    ],
)
def test_journeys_that_a_table_cannot_answer_are_refused(
    tmp_path: Path, condition: str, reason: str
) -> None:
    journey = write_journey(tmp_path, ONBOARDING.replace("{name: Terms Accepted}", condition))
    events = write_events(tmp_path, case("a", 0, "start", "income"))
    code, _, error = run("--events", str(events), "--defined", str(journey))
    assert code == 1
    assert reason in error
    assert str(journey) in error


def test_bad_journey_is_refused_with_its_place(tmp_path: Path) -> None:
    journey = write_journey(tmp_path, ONBOARDING.replace("mandatory", "mandatry", 1))
    code, _, error = run("--events", str(tmp_path / "no.csv"), "--defined", str(journey))
    assert code == 1
    assert f"{journey}:8:5: unknown field 'mandatry': did you mean 'mandatory'?" in error


def test_case_that_is_too_long_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.insights.defined.MAX_CASE_STEPS", 3)
    events = write_events(tmp_path, case("a", 0, "terms"), case("bot", 0, *["terms"] * 4))
    code, _, error = run("--events", str(events), "--defined", str(write_journey(tmp_path)))
    assert code == 1
    assert "the case 'bot' has 4 steps, at most 3 are possible" in error


def test_funnel_loses_drop_offs_open_cases_and_goals_out_of_order(tmp_path: Path) -> None:
    text = "journey: line\ngoal: {when: {name: d}, window: 9d}\nsteps:\n" + "".join(
        f"  - {{step: {name}, mandatory: true, reached: {{name: {name}}}}}\n" for name in "abcd"
    )
    cases = [
        case(f"{number}-{path}", 0, *path)
        for number in range(2)
        for path in ("abcd", "ab", "ba", "c", "abd")
    ]
    answer = analyse(write_events(tmp_path, *cases, LATER_EVENT), write_journey(tmp_path, text))
    counts = [answer["cases"], *funnel(answer).values()]
    assert counts == [11, 8, 6, 2, 2]
    open_case_count, early_goal_count = 1, 2
    assert drop_offs(answer) == {
        None: 11 - 8 - open_case_count,
        "a": 8 - 6,
        "b": 6 - 2 - early_goal_count,
    }
    assert math.fsum(drop_off["share"] for drop_off in answer["drop_offs"]) == pytest.approx(6 / 11)


def test_without_a_window_no_case_is_unfinished(tmp_path: Path) -> None:
    text = ONBOARDING.replace(", window: 30d}", "}")
    events = write_events(tmp_path, case("a", 0, "start", "terms"), case("b", 0, "start", "open"))
    assert drop_offs(analyse(events, write_journey(tmp_path))) == {}
    assert drop_offs(analyse(events, write_journey(tmp_path, text))) == {"terms": 1}


@pytest.mark.parametrize(
    "options", [("--defined", "plan"), ("--goal", "Account Opened", "--gap", "2d")]
)
def test_more_cases_than_memory_holds_go_to_disk(tmp_path: Path, options: tuple[str, ...]) -> None:
    events = tmp_path / "events.parquet"
    with open_duckdb(Engine(threads=2)) as queries:
        queries.connection.execute(
            f"""COPY (
                SELECT md5((i // 4)::VARCHAR) AS case_id, {START} + i % 4 * 1000 AS occurred_at,
                    ['Terms Accepted', 'Income Given', 'Photo Uploaded', 'Account Opened'
                    ][(i % 4)::INT + 1] AS name, 'web' AS channel
                FROM range(1_600_000) AS t(i)) TO '{events}' (FORMAT parquet)"""
        )
    spill = tmp_path / "spill"
    spill.mkdir()
    plan = write_journey(tmp_path)
    options_with_file = [str(plan) if option == "plan" else option for option in options]
    arguments = ("--events", str(events), *options_with_file, "--json", "--spill", str(spill))
    code, output, error = run(*arguments, "--memory", "300MB")
    assert code == 0, error
    assert json.loads(output)["cases"] == 400_000
    assert output == run(*arguments)[1]
    assert not list(spill.iterdir())
