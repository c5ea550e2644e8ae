"""A defined journey in depth: figures of small tables, counted by hand, and laws that hold."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.cli import insights_journeys
from pipeline.insights.journey_details import StepFlow
from tests.support.attribution import write_csv
from tests.support.journeys import DAY, ONBOARDING, case, write_events, write_journey
from tests.unit.test_insights_journeys import LATER_EVENT, analyse, funnel, run


def analyse_details(events: Path, journey: Path, *options: str) -> dict[str, Any]:
    answer = analyse(events, journey, "--details", *options)["details"]
    assert isinstance(answer, dict)
    return answer


def steps(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {step["step"]: step for step in answer["steps"]}


def table(odds: dict[str, Any]) -> tuple[int, ...]:
    counts = odds["table"]
    return tuple(counts[k] for k in ("exposed", "exposed_outcomes", "others", "other_outcomes"))


def events_at(name: str, *events: tuple[float, str], channel: str = "web") -> list[str]:
    return [line for day, event in events for line in case(name, day, event, channel=channel)]


def draw_cases(count: int, seed: int) -> list[list[str]]:
    random = Random(seed)
    names = ("start", "terms", "income", "photo", "open", "cancel", "page")
    return [
        case(
            f"c{index}",
            random.uniform(0, 60),
            *random.choices(names, (4, 3, 3, 3, 2, 1, 2), k=random.randint(1, 8)),
            channel=random.choice(("web", "app")),
        )
        for index in range(count)
    ]


def test_without_details_nothing_is_added(tmp_path: Path) -> None:
    events, journey = write_events(tmp_path, *draw_cases(40, 1)), write_journey(tmp_path)
    plain_answer = analyse(events, journey)
    detailed_answer = analyse(events, journey, "--details")
    assert {
        key: value for key, value in detailed_answer.items() if key != "details"
    } == plain_answer


def test_flows_into_and_out_of_a_step_equal_its_cases(tmp_path: Path) -> None:
    events, journey = write_events(tmp_path, *draw_cases(300, 2)), write_journey(tmp_path)
    full_answer = analyse(events, journey, "--details")
    answer = full_answer["details"]
    inflows: Counter[str | None] = Counter()
    outflows: Counter[str | None] = Counter()
    ends: Counter[str] = Counter()
    for flow in answer["flows"]:
        outflows[flow["after"]] += flow["cases"]
        if flow["to"] is not None:
            assert flow["end"] is None
            inflows[flow["to"]] += flow["cases"]
        else:
            ends[flow["end"]] += flow["cases"]
    assert dict(inflows) == funnel(full_answer)
    assert {name: count for name, count in outflows.items() if name is not None} == funnel(
        full_answer
    )
    assert outflows[None] == full_answer["cases"] == 300
    assert ends == answer["outcomes"]
    assert min(ends.values()) > 0
    drop_offs_by_step = {
        flow["after"]: flow["cases"] for flow in answer["flows"] if flow["end"] == "dropped"
    }
    assert drop_offs_by_step == {
        drop_off["after"]: drop_off["cases"] for drop_off in full_answer["drop_offs"]
    }


def test_channels_add_up(tmp_path: Path) -> None:
    events, journey = write_events(tmp_path, *draw_cases(300, 3)), write_journey(tmp_path)
    full_answer = analyse(events, journey, "--details")
    answer = full_answer["details"]
    step_counts: Counter[str] = Counter()
    drop_offs_by_step: Counter[str] = Counter()
    for channel_step in answer["channel_steps"]:
        step_counts[channel_step["step"]] += channel_step["cases"]
        drop_offs_by_step[channel_step["step"]] += channel_step["dropped"]
    assert step_counts == funnel(full_answer)
    assert drop_offs_by_step == {name: step["dropped"] for name, step in steps(answer).items()}
    curves = answer["by_channel"]
    assert sum(curve["curve"]["cases"] for curve in curves) == 300
    conversions = sum(curve["curve"]["conversions"] for curve in curves)
    assert (
        conversions == answer["time_to_convert"]["conversions"] == answer["outcomes"]["converted"]
    )


def test_deviations_are_counted_by_step(tmp_path: Path) -> None:
    events = write_events(
        tmp_path,
        case("as-planned", 0, "start", "terms", "income"),
        case("again", 0, "start", "terms", "terms", "income"),
        case("swapped", 0, "start", "photo", "terms", "income"),
        case("skipped", 0, "start", "income"),
    )
    steps_by_name = steps(analyse_details(events, write_journey(tmp_path)))
    deviations = {
        name: (step["skipped"], step["repeated"], step["swapped"])
        for name, step in steps_by_name.items()
    }
    assert deviations == {"terms": (1, 1, 0), "income": (0, 0, 0), "photo": (0, 0, 1)}


def test_step_is_late_after_its_limit_from_the_part_before(tmp_path: Path) -> None:
    text = ONBOARDING.replace(
        "reached: {name: Income Given}", "reached: {name: Income Given}\n        within: 2d"
    )
    events = write_events(
        tmp_path,
        events_at("in-time", (0, "start"), (6.9, "terms"), (8.8, "income")),
        events_at("late", (0, "start"), (7, "terms"), (9, "income")),
    )
    steps_by_name = steps(analyse_details(events, write_journey(tmp_path, text)))
    assert {name: step["late"] for name, step in steps_by_name.items()} == {
        "terms": 1,
        "income": 1,
        "photo": 0,
    }
    assert steps_by_name["terms"]["median_ms"] == pytest.approx(6.95 * DAY)
    assert steps_by_name["photo"]["median_ms"] is None


def test_time_to_convert_is_that_of_kaplan_and_meier(tmp_path: Path) -> None:
    # Two of four convert on day 2, one has been open since day 5, one converts on day 10.
    events = write_events(
        tmp_path,
        events_at("a", (0, "start"), (2, "open")),
        events_at("b", (0, "start"), (2, "open")),
        events_at("c", (10, "start")),
        events_at("d", (0, "start"), (10, "open")),
    )
    answer = analyse_details(events, write_journey(tmp_path), "--until", "2024-01-16T00:00:00Z")
    curve = answer["time_to_convert"]
    assert (curve["cases"], curve["conversions"]) == (4, 3)
    assert [(p["at_ms"], p["at_risk"], p["converted"]["share"]) for p in curve["points"]] == [
        (2 * DAY, 4, 0.5),
        (10 * DAY, 1, 1.0),
    ]
    assert curve["quartiles_ms"] == [2 * DAY, 2 * DAY, 10 * DAY]


def test_leaving_by_an_exit_is_no_censoring(tmp_path: Path) -> None:
    events = write_events(
        tmp_path,
        events_at("left", (0, "start"), (1, "cancel")),
        events_at("converted", (0, "start"), (5, "open")),
        LATER_EVENT,
    )
    curve = analyse_details(events, write_journey(tmp_path))["time_to_convert"]
    assert curve["points"][0]["at_risk"] == 2
    assert curve["points"][0]["converted"]["share"] == pytest.approx(1 / 2)


def test_plan_is_compared_from_its_first_step_on(tmp_path: Path) -> None:
    events = write_events(
        tmp_path,
        events_at("kept", (0, "start"), (1, "terms"), (2, "income"), (3, "open")),
        events_at("kept-later-off", (0, "start"), (1, "terms"), (2, "terms")),
        events_at("order", (0, "start"), (1, "photo"), (2, "terms"), (3, "open")),
        events_at("late", (0, "start"), (8, "terms")),
        events_at("converted-before", (0, "start"), (1, "open"), (2, "terms")),
        events_at("left-before", (0, "start"), (1, "cancel"), (2, "terms")),
        events_at("never", (0, "start"), (1, "income")),
        LATER_EVENT,
    )
    plan = analyse_details(events, write_journey(tmp_path))["followed_plan"]
    assert plan["landmark"] == "the step terms was reached"
    groups = [(plan[k]["cases"], plan[k]["conversions"]) for k in ("with_it", "without_it")]
    assert groups == [(2, 1), (2, 1)]
    assert plan["with_it"]["points"][0]["at_ms"] == 2 * DAY


def test_arms_are_compared_with_the_holdout(tmp_path: Path) -> None:
    lines = ["case_id,occurred_at,name,channel,arm"]
    for arm, winner_count in (("a", 3), ("holdout", 1), ("z", 2)):
        for number in range(4):
            name, last_event = f"{arm}{number}", "open" if number < winner_count else "page"
            lines += [f"{line},{arm}" for line in case(name, 0, "start", last_event)]
    lines += [f"{line}," for line in LATER_EVENT]
    arms = analyse_details(write_csv(tmp_path / "e.csv", lines), write_journey(tmp_path))["arms"]
    assert [(arm["arm"], arm["reference"]) for arm in arms] == [("a", "holdout"), ("z", "holdout")]
    differences = [arm["compared"]["more"]["share"] for arm in arms]
    assert differences == pytest.approx([0.5, 0.25])


def test_associations_compare_early_events_with_later_conversions(
    tmp_path: Path,
) -> None:
    def cases(name: str, count: int, *events: tuple[float, str]) -> list[list[str]]:
        return [events_at(f"{name}{index}", (0, "start"), *events) for index in range(count)]

    events = write_events(
        tmp_path,
        *cases("error", 9, (1, "error")),
        *cases("error-won", 1, (1, "error"), (5, "open")),
        *cases("won", 8, (5, "open")),
        *cases("lost", 2),
        *cases("error-too-late", 1, (4, "error")),
        *cases("won-early", 5, (1, "open")),
        *[events_at(f"young{index}", (59, "start"), (60, "error")) for index in range(5)],
        LATER_EVENT,
    )
    answer = analyse_details(events, write_journey(tmp_path))
    assert answer["early_ms"] == 3 * DAY
    association_of_error = next(
        association for association in answer["associations"] if association["name"] == "error"
    )
    assert (
        association_of_error["outcome"],
        association_of_error["after"],
        association_of_error["kind"],
    ) == ("conversion", None, "event")
    assert table(association_of_error["odds"]) == (10, 1, 11, 8)
    assert association_of_error["odds"]["odds_ratio"] == pytest.approx((1.5 * 3.5) / (9.5 * 8.5))
    assert (
        association_of_error["odds"]["low"]
        < association_of_error["odds"]["odds_ratio"]
        < association_of_error["odds"]["high"]
        < 1
    )
    answer_of_one_day = analyse_details(events, write_journey(tmp_path), "--early", "1d")
    assert all(association["name"] != "error" for association in answer_of_one_day["associations"])


def test_drop_off_is_associated_with_the_channel_of_the_step(tmp_path: Path) -> None:
    def cases(channel: str, count: int, *events: str) -> list[list[str]]:
        return [
            case(f"{channel}-{len(events)}-{index}", 0, "start", *events, channel=channel)
            for index in range(count)
        ]

    events = write_events(
        tmp_path,
        *cases("web", 3, "terms"),
        *cases("web", 1, "terms", "income"),
        *cases("app", 1, "terms"),
        *cases("app", 4, "terms", "income"),
        LATER_EVENT,
    )
    associations = analyse_details(events, write_journey(tmp_path))["associations"]
    tables_after_terms = {
        association["name"]: table(association["odds"])
        for association in associations
        if (association["outcome"], association["after"]) == ("drop-off", "terms")
    }
    assert tables_after_terms == {"web": (4, 3, 5, 1), "app": (5, 1, 4, 3)}


def test_no_channel_is_associated_with_an_outcome_in_a_world_without_effect(tmp_path: Path) -> None:
    associations = analyse_details(
        write_events(tmp_path, *draw_cases(2000, 4), events_at("end", (200, "x"))),
        write_journey(tmp_path),
    )["associations"]
    # `start` and earlier events depend on each other; channels are drawn at random.
    channels = [association for association in associations if association["kind"] == "channel"]
    assert len(channels) >= 4
    assert all(channel["odds"]["q"] > 0.01 for channel in channels)


@pytest.mark.parametrize(
    "cases",
    [[], [case("a", 0, "page")], [case("a", 0, "open")], [case("a", 0, "start", "terms")]],
)
def test_small_tables_have_answers_without_associations(
    tmp_path: Path, cases: Sequence[list[str]]
) -> None:
    events, journey = write_events(tmp_path, *cases), write_journey(tmp_path)
    answer = analyse_details(events, journey)
    assert answer["time_to_convert"]["cases"] == len(cases)
    assert answer["associations"] == []
    code, output, _ = run("--events", str(events), "--defined", str(journey), "--details")
    assert code == 0
    assert "nan" not in output.lower()


def test_tables_for_people_show_the_details(tmp_path: Path) -> None:
    events = write_events(tmp_path, *draw_cases(300, 5))
    journey = write_journey(tmp_path)
    code, output, _ = run("--events", str(events), "--defined", str(journey), "--details")
    assert code == 0
    for title in ("Outcomes", "Transitions between steps", "The plan was kept", "Associated with"):
        assert title in output


def test_note_on_hidden_transitions_does_not_exclude_drop_offs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown_flows = [StepFlow(f"step {number}", "open", None, 9) for number in range(20)]
    hidden_flows = [StepFlow("open", None, "dropped", 2), StepFlow("start", "open", None, 1)]
    journey_parts: Any = SimpleNamespace(flows=(*shown_flows, *hidden_flows))
    insights_journeys._print_flows(journey_parts)
    note = "... and 2 more transitions of 3 cases: --json has them all"
    assert capsys.readouterr().out.splitlines()[-1] == note


def test_early_events_are_those_of_the_first_day_without_a_goal(tmp_path: Path) -> None:
    text = ONBOARDING.replace("goal: {when: {name: Account Opened}, window: 30d}\n", "")
    events = write_events(tmp_path, case("a", 0, "terms", "income"), case("b", 0, "terms"))
    answer = analyse_details(events, write_journey(tmp_path, text))
    assert answer["early_ms"] == DAY
    assert answer["outcomes"] == {"converted": 1, "dropped": 1, "unfinished": 0}
