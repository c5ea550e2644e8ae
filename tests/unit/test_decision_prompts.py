"""The best prompt of a step is found in the decisions themselves."""

from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from pipeline.cli.main import build_app
from pipeline.insights.topic_files import DECISIONS, SEGMENTED
from pipeline.model.decision import Candidate, Choice, Decision
from pipeline.model.stages import Segmented
from pipeline.model.time import DAY_MS, HOUR_MS
from tests.support.replayed import as_segmented, event, write_topic

_START = 1_704_067_200_000
_JOURNEY = """
journey: onboarding
steps:
  - step: terms
    mandatory: true
    reached: {name: Terms Accepted}
    prompts: [{offers: [terms-mail, terms-page], after: 1h}]
  - {step: photo, reached: {name: Photo Uploaded}}
"""
_SHARES = {"terms-mail": 0.5, "terms-page": 0.3, None: 0.2}
_TRUTH = {"terms-mail": 0.5, "terms-page": 0.2, None: 0.2}
_CUSTOMERS = 1_500


def _candidate(offer: str, treatment: str | None) -> Candidate:
    fate = "chosen" if offer == treatment else "beaten by nothing"
    return Candidate("hero", "onboarding", offer, offer, "web", 1.0, 0.0, 1.0, fate)


def _decision(
    number: int, at: int, offer: str | None, *, is_drawn: bool, **fields: Any
) -> Decision:
    propensity = _SHARES[offer] if is_drawn else 1.0
    choice = Choice("hero", "web", propensity=propensity, **fields)
    if offer is not None:
        choice = Choice(
            "hero", "web", f"a{number}", "onboarding", offer, offer, 1.0, propensity=propensity
        )
    candidates = tuple(_candidate(name, offer) for name in ("terms-mail", "terms-page"))
    return Decision(f"d{number}", f"e{number}", f"c{number}", "c", at, (choice,), candidates)


def _recommend(folder: Path, *, is_drawn: bool) -> dict[str, Any]:
    chance, decisions, segmented = Random(2), list[Decision](), list[Segmented]()
    for number in range(_CUSTOMERS):
        at = _START + number * DAY_MS // 50
        [offer] = chance.choices(list(_SHARES), list(_SHARES.values()))
        decisions.append(_decision(number, at, offer, is_drawn=is_drawn))
        segmented.append(as_segmented(f"c{number}", event(f"e{number}", "Home", at - HOUR_MS)))
        if chance.random() < _TRUTH[offer]:
            goal_event = event(f"t{number}", "Terms Accepted", at + HOUR_MS)
            segmented.append(as_segmented(f"c{number}", goal_event))
    held_decision = _decision(
        -1, _START, None, is_drawn=is_drawn, holdout="all", would_be="terms-mail"
    )
    segmented.append(as_segmented("last", event("last", "Home", _START + 60 * DAY_MS)))
    write_topic(folder, DECISIONS, [*decisions, decisions[0], held_decision])
    write_topic(folder, SEGMENTED, segmented)
    plan = folder / "onboarding.yaml"
    plan.write_text(_JOURNEY)
    command = ["insights", "recommend", "--topics", str(folder), "--defined", str(plan), "--json"]
    result = CliRunner().invoke(build_app("insights"), command)
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = msgspec.json.decode(result.stdout)
    return document


def test_best_offer_of_a_step_is_recommended(tmp_path: Path) -> None:
    recommendation = _recommend(tmp_path, is_drawn=True)
    step = next(row for row in recommendation["journey"] if row["step"] == "terms")
    assert (step["step"], step["channel"], step["message"]) == ("terms", "web", "terms-mail")
    [change] = [change for change in recommendation["changes"] if change["place"] == "terms"]
    assert change["grade"] == "Tested"
    assert change["gain"]["low"] > 0
    explore_half, report_half = change["support"]["found_on"], change["support"]["reported_on"]
    assert explore_half + report_half == _CUSTOMERS


def test_prompt_that_was_not_drawn_is_proposed_as_a_test_only(tmp_path: Path) -> None:
    recommendation = _recommend(tmp_path, is_drawn=False)
    assert [
        change["grade"] for change in recommendation["changes"] if change["place"] == "terms"
    ] == ["Observed only"]


def test_topics_need_a_journey_whose_prompts_name_offers(tmp_path: Path) -> None:
    command = ["insights", "recommend", "--topics", str(tmp_path)]
    result = CliRunner().invoke(build_app("insights"), command)
    assert result.exit_code == 2
    assert "--defined" in result.output


@pytest.mark.parametrize("options", [(), ("--events", "e.csv")])
def test_without_topics_both_tables_are_needed(options: tuple[str, ...]) -> None:
    result = CliRunner().invoke(build_app("insights"), ["insights", "recommend", *options])
    assert result.exit_code == 2
    assert "--prompts FILE" in result.output
