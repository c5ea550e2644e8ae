"""Recommendations over 200 worlds, and over a bank large enough for its rarest step."""

from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from pipeline.cli.main import build_app
from tests.support.choice_worlds import (
    SIZES,
    channels_despite_groups,
    count_false_recommendations,
    count_right_recommendations,
)
from tests.support.prompted_bank import best_channels, write_onboarding
from tests.support.tested_journeys import (
    TEST_OF_ORDER,
    TEST_OF_TOUR,
    cases_of_test,
    recommend_for_cases,
)

pytestmark = pytest.mark.chaos

_WORLDS = range(200)


@pytest.mark.parametrize(("customers", "base"), SIZES)
def test_at_most_one_in_twenty_worlds_without_an_effect_gets_a_recommendation(
    customers: int, base: float
) -> None:
    assert count_false_recommendations(_WORLDS, customers, base) <= 0.05 * len(_WORLDS)


def test_four_in_five_stated_effects_get_the_right_recommendation() -> None:
    assert count_right_recommendations(_WORLDS) >= 0.8 * len(_WORLDS)


def test_bias_of_a_policy_that_chose_by_group_is_removed() -> None:
    recommendations = channels_despite_groups(_WORLDS)
    assert "call" not in recommendations
    assert recommendations.count("email") >= 0.8 * len(recommendations)


@pytest.mark.parametrize(
    ("journey", "arms"),
    [
        (TEST_OF_ORDER, ("photo-then-income", "income-then-photo")),
        (TEST_OF_TOUR, ("with-tour", "without-tour")),
    ],
)
def test_at_most_one_in_twenty_tests_without_an_effect_changes_the_journey(
    journey: str, arms: tuple[str, str], tmp_path: Path
) -> None:
    """Check tests of eager customers, who follow the order or take the step anyway and convert
    more; four in five tests with an effect change the journey."""
    recommendations = [
        recommend_for_cases(tmp_path, journey, cases_of_test(arms, 0.0, seed))["shape"]["told"]
        for seed in _WORLDS
    ]
    assert sum(map(bool, recommendations)) <= 0.05 * len(_WORLDS)
    recommendations = [
        recommend_for_cases(tmp_path, journey, cases_of_test(arms, 0.3, seed, 800))["shape"]["told"]
        for seed in _WORLDS
    ]
    assert sum(map(bool, recommendations)) >= 0.8 * len(_WORLDS)


def test_every_step_of_the_bank_gets_its_best_channel(tmp_path: Path) -> None:
    write_onboarding(tmp_path, 60_000)
    files = [
        *("--events", str(tmp_path / "e.csv"), "--prompts", str(tmp_path / "p.csv")),
        *("--defined", str(tmp_path / "j.yaml")),
    ]
    command = ["insights", "recommend", *files, "--json"]
    result = CliRunner().invoke(build_app("insights"), command)
    assert result.exit_code == 0, result.output
    recommendation = msgspec.json.decode(result.stdout)
    assert {step["step"]: step["channel"] for step in recommendation["journey"]} == best_channels()
