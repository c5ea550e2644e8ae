"""`kairos train` and `kairos models` on a running stack: a promoted model decides, a damaged one
does not, and a rollback undoes the promotion."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.support.deciding import campaign, hero, offer
from tests.support.played_world import PlayedWorld, bank, write_world
from tests.support.stack import Stack, eventually

_CHANCES = {(tier, "hello"): 0.1 for tier in ("gold", "plain")}
_CHANCES |= {(tier, "again"): 0.8 for tier in ("gold", "plain")}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of replayed decisions and interactions of the stack's own campaign, whose second
    offer is by far the more welcome."""
    offers = [offer("hello", 3, hero("hello-hero")), offer("again", 3, hero("again-hero"))]
    policies = {
        "weights": [
            {
                "weight": "odd",
                "factor": 2,
                "when": {"property": "odd", "is": True},
                "for": {"offer": "hello"},
            }
        ]
    }
    rules = bank(campaigns=[campaign("hero", *offers, trigger=None)], policies=policies)
    world = PlayedWorld(rules, customers=120, days=8, chances=_CHANCES)
    return write_world(world, tmp_path_factory.mktemp("replayed"))


def _ask_hero(stack: Stack) -> Any:
    """Ask for the hero as a new customer; return the explanation of the decision."""
    with stack.client("test-app-key") as client:
        page = {"type": "page", "name": "Home", "userId": f"c-{uuid4()}"}
        question = {"interaction": page, "placements": ["hero"]}
        answer = client.post("/v1/decide", json=question).raise_for_status().json()
    stack.wait_until_idle()  # the answer may be readable before its decision
    return stack.ask("explain", answer["decision_id"], "--rerun")


def _chosen_treatment(explanation: Any) -> str:
    [slot] = [slot for slot in explanation["slots"] if slot["slot"] == "hero"]
    return str(slot["chosen"]["treatment"])


@pytest.mark.long
def test_promoted_model_decides_until_it_is_rolled_back(
    stack: Stack, folders: tuple[Path, Path]
) -> None:
    decisions, segmented = map(str, folders)
    options = ("--decisions", decisions, "--interactions", segmented, "--window", "1h")
    train_report = stack.json("train", "propensity", "hero", *options)
    assert train_report["metrics"]["auc"] > 0.7
    assert [model["in_force"] for model in stack.ask("models", "list")] == [False]
    assert stack.ask("models", "show", "hero")["data"] == train_report["data"]
    first_explanation = _ask_hero(stack)
    assert _chosen_treatment(first_explanation) == "hello-hero"
    assert "model" not in first_explanation

    assert stack.ask("models", "promote", "hero") == {"name": "hero", "version": 1}
    try:
        explanation = eventually(
            lambda: answer if "model" in (answer := _ask_hero(stack)) else None
        )
        assert explanation["model"] == "hero@1"
        assert explanation["same"] is True
        assert _chosen_treatment(explanation) == "again-hero"
        [slot] = [slot for slot in explanation["slots"] if slot["slot"] == "hero"]
        chances = {candidate["treatment"]: candidate["p"] for candidate in slot["candidates"]}
        assert chances["again-hero"] == pytest.approx(0.8, abs=0.1)
        assert chances["hello-hero"] == pytest.approx(0.1, abs=0.1)
        assert [model["in_force"] for model in stack.ask("models", "list")] == [True]
        _check_damaged_model_is_refused(stack, Path(train_report["folder"]))
        assert _ask_hero(stack)["model"] == "hero@1"
    finally:
        assert stack.ask("models", "rollback", "hero") == {"name": "hero", "version": None}
    last_explanation = eventually(
        lambda: answer if "model" not in (answer := _ask_hero(stack)) else None
    )
    assert _chosen_treatment(last_explanation) == "hello-hero"
    assert stack.ask("explain", explanation["decision_id"], "--rerun")["same"] is True


def _check_damaged_model_is_refused(stack: Stack, folder: Path) -> None:
    """Damage the model, and check that it cannot be promoted; nor can a name without a model be
    rolled back."""
    text = (folder / "model.txt").read_text()
    (folder / "model.txt").write_text(text.replace("leaf_value=", "leaf_value=1", 1))
    refusal = stack.run("models", "promote", "hero")
    assert refusal.returncode == 1
    assert "is damaged: its digest is not that in its manifest" in refusal.stderr
    assert stack.run("models", "rollback", "nobody").returncode == 1
