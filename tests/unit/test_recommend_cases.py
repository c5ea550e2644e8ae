"""Arms, orders and optional steps of journeys: changes if they were drawn, tests if observed."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.adapters.journey_file import load_journey
from pipeline.config.model.journeys import Journey
from pipeline.model.time import DAY_MS
from tests.support.tested_journeys import (
    JOURNEY,
    START_MS,
    TEST_OF_ORDER,
    TEST_OF_TOUR,
    cases_of_test,
    recommend_for_cases,
    run_recommend,
)


def _draw_events(effect: float, count: int = 1_000) -> list[tuple[Any, ...]]:
    """Draw cases of two arms; eager customers send the photo first, take the tour, and open more
    accounts by themselves."""
    random = np.random.default_rng(11)
    rows: list[tuple[Any, ...]] = []
    for case in range(count):
        start_ms = START_MS + case * 600_000
        arm = "mail-first" if random.random() < 0.5 else "call-first"
        is_eager = random.random() < 0.5
        names = ["Photo", "Income", "Tour"] if is_eager else ["Income", "Photo"]
        steps = ["Started", *names, "Sign"]
        if random.random() < (0.5 if is_eager else 0.2) + effect * (arm == "mail-first"):
            steps.append("Opened")
        rows += [
            (case, start_ms + index * 3_600_000, name, "web", arm)
            for index, name in enumerate(steps)
        ]
    return [*rows, (0, START_MS + 60 * DAY_MS, "End", "web", "")]


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Any]:
    """Function that runs the command over cases with this effect of the arm."""

    def run_command(effect: float, *options: str) -> Any:
        answer = recommend_for_cases(tmp_path, JOURNEY, _draw_events(effect), *options)
        return {change["kind"]: change for change in answer["changes"]}

    return run_command


def test_arm_that_converts_more_is_a_change(run: Callable[..., Any], tmp_path: Path) -> None:
    arm = run(0.3)["arm"]
    assert (arm["do"], arm["grade"]) == ("change", "Tested")
    assert "mail-first" in arm["what"]
    assert arm["gain"]["low"] < 0.15 < arm["gain"]["high"]
    shares = '{"mail-first":0.9,"call-first":0.1}'
    assert shares in arm["draft"]
    draft = JOURNEY.replace("{mail-first: 0.5, call-first: 0.5}", shares)
    (tmp_path / "draft.yaml").write_text(draft)
    assert isinstance(load_journey(tmp_path / "draft.yaml"), Journey)
    assert "arm" not in run(0.0)


def test_orders_and_optional_steps_that_go_with_eagerness_are_only_tests(
    run: Callable[..., Any],
) -> None:
    changes = run(0.0)
    assert {kind: change["do"] for kind, change in changes.items()} == {
        "order": "test",
        "step": "test",
    }
    assert {change["grade"] for change in changes.values()} == {"Observed only"}
    assert "photo > income" in changes["order"]["what"]
    assert "tour" in changes["step"]["what"]
    assert all("split" in change["draft"] for change in changes.values())


def test_forbidden_order_is_no_option(run: Callable[..., Any]) -> None:
    assert "order" not in run(0.0, "--forbid", "photo > income")


def test_tested_order_becomes_the_order_of_the_journey(tmp_path: Path) -> None:
    arms = ("photo-then-income", "income-then-photo")
    answer = recommend_for_cases(tmp_path, TEST_OF_ORDER, cases_of_test(arms, 0.3, 1))
    change, *other_changes = answer["changes"]
    assert (change["kind"], change["do"], change["grade"]) == ("order", "change", "Tested")
    assert {other_change["do"] for other_change in other_changes} <= {"test"}
    assert change["gain"]["low"] < 0.15 < change["gain"]["high"]
    shape = answer["shape"]
    assert shape["steps"] == ["photo", "income", "tour", "sign"]
    assert (shape["least"], shape["most"], shape["open"]) == (3, 4, ["tour"])
    assert shape["told"] == ["order"]
    draft = _load_draft(tmp_path, change["draft"])
    assert [step.step for step in draft.steps] == ["photo", "income", "tour", "sign"]


@pytest.mark.parametrize(
    ("arms", "steps", "advice"),
    [
        (("with-tour", "without-tour"), ["income", "photo", "tour", "sign"], "Lead everybody"),
        (("without-tour", "with-tour"), ["income", "photo", "sign"], "Leave the optional step"),
    ],
)
def test_experiment_on_a_step_shows_whether_it_is_worth_its_place(
    tmp_path: Path, arms: tuple[str, str], steps: list[str], advice: str
) -> None:
    answer = recommend_for_cases(tmp_path, TEST_OF_TOUR, cases_of_test(arms, 0.3, 2))
    change = answer["changes"][0]
    assert (change["kind"], change["grade"]) == ("step", "Tested")
    assert advice in change["what"]
    shape = answer["shape"]
    assert (shape["steps"], shape["open"], shape["least"]) == (steps, [], len(steps))
    step_names = [step.step for stage in _load_draft(tmp_path, change["draft"]).steps
             for step in stage.steps()]  # fmt: skip
    assert step_names == steps


def test_experiment_on_the_number_of_steps_shows_the_best_number(tmp_path: Path) -> None:
    """Draw customers with none, one or two optional steps, of whom those with one convert best."""
    arms = [f"optional-steps-{number}" for number in range(3)]
    shares = "{optional-steps-0: 0.3, optional-steps-1: 0.4, optional-steps-2: 0.3}"
    journey = JOURNEY.replace("{mail-first: 0.5, call-first: 0.5}", shares).replace(
        "  - {step: tour,", "  - {step: film, reached: {name: Film}}\n  - {step: tour,"
    )
    random = np.random.default_rng(3)
    rows: list[tuple[Any, ...]] = []
    for case in range(1_200):
        optional_count = int(random.choice(3, p=[0.3, 0.4, 0.3]))
        steps = ["Started", "Income", "Photo", *["Film", "Tour"][:optional_count], "Sign"]
        if random.random() < (0.2, 0.6, 0.2)[optional_count]:
            steps.append("Opened")
        start_ms = START_MS + case * 600_000
        rows += [
            (case, start_ms + index * 3_600_000, name, "web", arms[optional_count])
            for index, name in enumerate(steps)
        ]
    rows.append((0, START_MS + 60 * DAY_MS, "End", "web", ""))
    answer = recommend_for_cases(tmp_path, journey, rows)
    change = answer["changes"][0]
    assert (change["kind"], change["do"]) == ("count", "change")
    assert "through 1 of the optional steps" in change["what"]
    assert '"optional-steps-1":0.9' in change["draft"]
    shape = answer["shape"]
    assert (shape["least"], shape["most"], shape["told"]) == (4, 4, ["count"])
    assert shape["open"] == ["film", "tour"]


def test_experiment_without_effect_hardly_changes_the_journey(tmp_path: Path) -> None:
    """Draw customers who take the step by themselves and convert more without its effect."""
    arms = ("with-tour", "without-tour")
    changes = [
        answer["shape"]["told"]
        for seed in range(20)
        for answer in [recommend_for_cases(tmp_path, TEST_OF_TOUR, cases_of_test(arms, 0.0, seed))]
        if answer["shape"]["told"] or any(change["do"] == "change" for change in answer["changes"])
    ]
    assert len(changes) <= 3  # of 20 worlds at 5 %; more than three happen once in 60 times


def test_every_option_is_shown_with_its_customers(tmp_path: Path) -> None:
    answer = recommend_for_cases(tmp_path, JOURNEY, _draw_events(0.0))
    comparisons_by_option = {
        (comparison["kind"], comparison["option"]): comparison for comparison in answer["compared"]
    }
    orders = [
        comparisons_by_option["order", option] for option in ("income > photo", "photo > income")
    ]
    assert all(order["grade"] == "Observed only" for order in orders)
    assert (
        sum(order["support"]["had_it"] for order in orders) == orders[0]["support"]["reported_on"]
    )
    assert orders[0]["gain"]["high"] < 0 < orders[1]["gain"]["low"]
    assert answer["shape"]["steps"] == ["income", "photo", "tour", "sign"]
    assert answer["shape"]["told"] == []


def _load_draft(folder: Path, draft: str) -> Journey:
    """Return the journey with its stages as drafted."""
    head, _, _ = JOURNEY.partition("steps:")
    (folder / "draft.yaml").write_text(head + draft.partition("\n")[2])
    journey = load_journey(folder / "draft.yaml")
    assert isinstance(journey, Journey), journey
    return journey


_GOAL_OPTIONS = (
    "--goal",
    "Opened",
    "--window",
    "10d",
    "--order-of",
    "Income",
    "--order-of",
    "Photo",
)


def test_best_order_is_found_without_a_defined_journey(tmp_path: Path) -> None:
    """Compare arms whose shares are unknown: they count as observed only."""
    arms = ("photo-then-income", "income-then-photo")
    answer = recommend_for_cases(tmp_path, None, cases_of_test(arms, 0.3, 1), *_GOAL_OPTIONS)
    [change] = answer["changes"]
    assert (change["kind"], change["do"], change["grade"]) == ("order", "test", "Observed only")
    assert "photo > income" in change["what"]
    assert change["gain"]["low"] > 0
    assert "photo-then-income" in change["draft"]
    assert (sorted(answer["shape"]["steps"]), answer["shape"]["told"]) == (["income", "photo"], [])


def test_orders_that_were_not_drawn_are_only_tests_without_a_plan(tmp_path: Path) -> None:
    events = [(*row[:4], "") for row in _draw_events(0.0)]
    answer = recommend_for_cases(tmp_path, None, events, *_GOAL_OPTIONS)
    [change] = answer["changes"]
    assert (change["kind"], change["do"], change["grade"]) == ("order", "test", "Observed only")
    assert "photo > income" in change["what"]
    assert {comparison["option"] for comparison in answer["compared"]} == {
        "photo > income",
        "income > photo",
    }


def test_orders_are_by_default_of_the_most_frequent_events(tmp_path: Path) -> None:
    events = [(*row[:4], "") for row in _draw_events(0.0)]
    answer = recommend_for_cases(tmp_path, None, events, "--goal", "Opened", "--window", "10d")
    assert sorted(answer["shape"]["steps"]) == ["income", "photo", "sign", "started"]
    assert answer["shape"]["told"] == []


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--goal", "Opened", "--order-of", "Never"), "--order-of Never: no event"),
        (("--goal", "Opened", "--order-of", "Photo"), "name at least two steps"),
        (("--order-of", "Photo"), "--goal and --order-of go with --events"),
        (("--goal", "Opened", "--window", "soon"), "soon"),
    ],
)
def test_orders_that_cannot_be_compared_are_refused_with_a_reason(
    tmp_path: Path, options: tuple[str, ...], reason: str
) -> None:
    recommendation = run_recommend(tmp_path, None, _draw_events(0.0, 20), *options)
    assert recommendation.exit_code != 0
    output = f"{recommendation.output} {recommendation.exception}"
    assert reason in " ".join(output.replace("│", " ").split())


def test_words_and_numbers_are_in_the_requested_language(tmp_path: Path) -> None:
    cases = cases_of_test(("with-tour", "without-tour"), 0.3, 2)
    answer = recommend_for_cases(tmp_path, TEST_OF_TOUR, cases, "--lang", "es")
    options = {
        comparison["option"] for comparison in answer["compared"] if comparison["kind"] == "step"
    }
    assert options == {"dado", "omitido"}
    reason = answer["changes"][0]["why"]
    assert re.search(r"vale 0,\d+ más", reason)
    assert not re.search(r"\d\.\d", reason)


@pytest.mark.parametrize("goal", ["Nothing", "Opened"])
def test_orders_need_a_goal_and_two_steps(tmp_path: Path, goal: str) -> None:
    events = _draw_events(0.0, 20) if goal == "Nothing" else [("c", START_MS, "Opened", "web", "")]
    recommendation = run_recommend(tmp_path, None, events, "--goal", goal)
    assert recommendation.exit_code == 0, recommendation.output
    assert "No orders are compared" in recommendation.stderr
