"""Drafts of recommended changes, applied to a configuration, give a valid one."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from pipeline.adapters.config_files import load
from pipeline.adapters.journey_file import load_journey
from pipeline.cli.main import build_app
from pipeline.config.model import Bundle
from pipeline.config.model.journeys import Journey
from pipeline.rollout.drafts import DraftSources, UndraftedError, write_draft
from tests.support.prompted_bank import write_tables

_BANK = Path(__file__).parents[2] / "deploy" / "bank"
_OFFER, _EMAIL, _CALL = "gold-card", "gold-card-email", "gold-card-call"
_JOURNEY = """
journey: cards  # of the bank
goal: {when: {name: Card Requested}, window: 20d}
steps:
  - {step: looked, reached: {name: Cards Viewed}}
  - any_order:
      - step: card
        mandatory: true
        reached: {name: Card Requested}
        prompts: [{offers: [gold-card], after: 1h}]
      - {step: photo, reached: {name: Photo Uploaded}}
"""
_START_MS = 1_704_067_200_000


def _write_card_prompts(folder: Path) -> None:
    """Write prompts drawn with equal chances: calls move gold customers, e-mails the others."""
    random = np.random.default_rng(4)
    prompts: list[tuple[Any, ...]] = []
    events: list[tuple[Any, ...]] = [("last", 1_800_000_000_000, "End", "")]
    for number in range(3_000):
        prompt_ms = _START_MS + number * 600_000
        tier = ("gold", "standard")[number % 2]
        channel, message = (("call", _CALL), ("email", _EMAIL))[random.integers(0, 2)]
        prompts.append((number, prompt_ms, "card", channel, message, _OFFER, 0.5, tier))
        if random.random() < (0.6 if (channel == "call") == (tier == "gold") else 0.1):
            events.append((number, prompt_ms + 3_600_000, "Card Requested", "web"))
    write_tables(folder, prompts, events)
    (folder / "j.yaml").write_text(_JOURNEY)


def _recommend(folder: Path, *options: str) -> Any:
    arguments = [
        *("--events", str(folder / "e.csv"), "--prompts", str(folder / "p.csv"), "--json"),
        *("--defined", str(folder / "j.yaml"), "--config", str(_BANK)),
        *("--drafts", str(folder / "drafts"), *options),
    ]
    result = CliRunner().invoke(build_app("insights"), ["insights", "recommend", *arguments])
    assert result.exit_code == 0, result.output
    assert "drafts" not in result.stderr, result.stderr
    return msgspec.json.decode(result.stdout)


def test_draft_of_a_choice_by_a_column_adds_segments_and_suitability_rules(tmp_path: Path) -> None:
    _write_card_prompts(tmp_path)
    recommendation = _recommend(tmp_path, "--adjust", "tier")
    [change] = [change for change in recommendation["changes"] if change["kind"] == "segment"]
    bundle = load(tmp_path / "drafts" / str(change["rank"]) / "config")
    assert isinstance(bundle, Bundle), bundle
    current_bundle = load(_BANK)
    assert isinstance(current_bundle, Bundle)
    new_segments = {segment.segment for segment in bundle.segments} - {
        segment.segment for segment in current_bundle.segments
    }
    assert new_segments == {"for-call-gold", "for-email-standard"}
    rules = {rule.rule for rule in bundle.policies.suitability}
    assert {f"only-{rule}" for rule in new_segments} <= rules


def test_draft_of_a_prompt_changes_the_journey_and_the_campaign(tmp_path: Path) -> None:
    draft = (
        "# journeys/*.yaml: the step\n"
        "steps:\n  - step: card\n    mandatory: true\n    reached: {name: Card Requested}\n"
        f"    prompts: [{{offers: [{_OFFER}]}}]\n"
        "---\n# campaigns/*.yaml: of the offer's treatments keep this one\n"
        f"offers: [{{offer: {_OFFER}, treatments: [{{treatment: {_EMAIL}, channel: email}}]}}]\n"
    )
    (tmp_path / "j.yaml").write_text(_JOURNEY)
    sources = DraftSources(_BANK, tmp_path / "j.yaml")
    assert write_draft(sources, draft, tmp_path / "out") == []
    bundle = load(tmp_path / "out" / "config")
    assert isinstance(bundle, Bundle), bundle
    [offer] = [o for campaign in bundle.campaigns for o in campaign.offers if o.offer == _OFFER]
    assert [treatment.treatment for treatment in offer.treatments] == [_EMAIL]
    journey = load_journey(tmp_path / "out" / "journey.yaml")
    assert isinstance(journey, Journey)
    [_, stage] = journey.steps
    assert [(step.step, len(step.prompts)) for step in stage.steps()] == [("card", 1), ("photo", 0)]
    assert "# of the bank" in (tmp_path / "out" / "journey.yaml").read_text()


@pytest.mark.parametrize(
    ("draft", "stages"),
    [
        (
            (
                "# journeys/cards.yaml: before the step\n"
                "steps: [{split: {by: share, arms: {a: 0.5, b: 0.5}}}]\n"
            ),
            ["split", "looked", "any"],
        ),
        (
            (
                "# journeys/cards.yaml\nsteps:\n"
                "  - {step: card, reached: {name: C}, mandatory: true}\n"
                "  - {step: photo, reached: {name: P}}\n"
            ),
            ["card", "photo"],
        ),
    ],
)
def test_drafts_of_splits_and_orders_change_the_journey(
    tmp_path: Path, draft: str, stages: list[str]
) -> None:
    (tmp_path / "j.yaml").write_text(_JOURNEY)
    sources = DraftSources(None, tmp_path / "j.yaml")
    assert write_draft(sources, draft, tmp_path / "out") == []
    journey = load_journey(tmp_path / "out" / "journey.yaml")
    assert isinstance(journey, Journey)
    assert [step.step or ("split" if step.split else "any") for step in journey.steps] == stages


def test_draft_of_unknown_names_is_refused(tmp_path: Path) -> None:
    offer = "# campaigns/*.yaml\noffers: [{offer: x, treatments: [{treatment: y, channel: z}]}]\n"
    with pytest.raises(UndraftedError, match="no campaign has an offer 'x'"):
        write_draft(DraftSources(_BANK, None), offer, tmp_path / "a")
    with pytest.raises(UndraftedError, match="give --config DIR"):
        write_draft(DraftSources(None, None), offer, tmp_path / "c")
    with pytest.raises(UndraftedError, match="give --defined FILE"):
        write_draft(DraftSources(_BANK, None), "# journeys/j.yaml\nsteps: []\n", tmp_path / "b")
