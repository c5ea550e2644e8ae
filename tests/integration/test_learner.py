"""The learner over the running pipeline, killed while it learns: its snapshot is the true count."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from pipeline.learner.snapshots import newest_snapshot
from pipeline.model import topics
from pipeline.model.decision import Action, Decision
from pipeline.model.learning import LearningRecord, digest_of
from pipeline.rules.knowledge import knowledge_of
from tests.support.learning import count_feedback
from tests.support.stack import Stack, eventually, running_stack

_CONFIGURATION = Path(__file__).parent / "learning"
_KEY: Final = "learning-web-key"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Stack of its own, which learns."""
    variables = {
        "KAIROS_PARTITIONS": "3",
        "KAIROS_DECIDE_BUDGET_MS": "30000",
        "KAIROS_SNAPSHOT_MS": "1000",
    }
    home = tmp_path_factory.mktemp("shop")
    with running_stack(Stack(home, _CONFIGURATION, variables), "--workers", "all") as stack:
        yield stack


def _ask(client: httpx.Client, customer_id: str, **properties: Any) -> dict[str, Any]:
    message = {"type": "track", "event": "Home", "userId": customer_id, "properties": properties}
    question = {"interaction": message, "placements": ["hero"]}
    answer: dict[str, Any] = client.post("/v1/decide", json=question).raise_for_status().json()
    return answer


def _report(client: httpx.Client, answer: dict[str, Any], outcome: str) -> None:
    action = answer["placements"]["hero"]
    if action is not None:
        report = {"token": action["token"], "outcome": outcome}
        client.post("/v1/outcomes", json=report).raise_for_status()


def _send_customers(shop: Stack, names: Iterator[str], count: int) -> str:
    """Let `count` customers visit, some of whom buy or convert; return the last decision's id."""
    with shop.client(_KEY) as client:
        for number in range(count):
            customer_id = next(names)
            properties = {"via": "mail"} if number % 3 == 0 else {}
            answer = _ask(client, customer_id, **properties)
            if number % 2 == 0:
                purchase = {"event": "Bought", "userId": customer_id}
                client.post("/v1/track", json=purchase).raise_for_status()
            elif number % 3 == 0:
                _report(client, answer, "conversion")
    return str(answer["decision_id"])


def _newest_snapshot(shop: Stack) -> LearningRecord | None:
    return newest_snapshot(shop.settings.kafka(), shop.records.codec)


def _complete_snapshot(shop: Stack) -> LearningRecord | None:
    """Return the newest snapshot if it counts all that happened, None otherwise."""
    decisions = [decision for _, decision in shop.records.read_all(topics.DECISIONS, Decision)]
    snapshot = _newest_snapshot(shop)
    if snapshot is None:
        return None
    counts = {
        (posterior.treatment, posterior.bin): (posterior.tried, posterior.reached)
        for posterior in snapshot.posteriors
        if posterior.tried
    }
    return snapshot if counts == count_feedback(decisions) and counts else None


def test_learner_killed_repeatedly_counts_everything_once(shop: Stack) -> None:
    names = (f"customer-{number}" for number in range(10_000))
    for _ in range(3):
        _send_customers(shop, names, 12)
        shop.restart("learner")
    shop.wait_until_idle()
    first_snapshot = eventually(lambda: _complete_snapshot(shop))
    assert first_snapshot.digest == digest_of(first_snapshot.posteriors)
    assert {posterior.bin for posterior in first_snapshot.posteriors} == {"", "asked-by-mail"}
    # The learner's disk is lost: its successor goes on from the snapshot.
    learner = shop.process("learner")
    learner.suspend()  # so that the learner writes nothing while its files are deleted
    shutil.rmtree(shop.home / "state" / "learner")
    learner.kill()
    _send_customers(shop, names, 12)
    shop.wait_until_idle()
    last_snapshot = eventually(lambda: _complete_snapshot(shop))
    assert last_snapshot.number > first_snapshot.number
    [status] = [
        process for process in shop.ask("status")["processes"] if process["name"] == "learner"
    ]
    assert status["lag"] == 0


def test_killed_worker_decides_nothing_twice_by_two_snapshots(shop: Stack) -> None:
    names = (f"twice-{number}" for number in range(10_000))
    _send_customers(shop, names, 6)
    shop.restart("worker-all-0")
    _send_customers(shop, names, 6)
    # The answer may be readable before its decision.
    shop.wait_until_idle()
    treatments_by_slot: dict[str, set[str | None]] = {}
    for _, decision in shop.records.read_all(topics.DECISIONS, Decision):
        for choice in decision.choices:
            treatments_by_slot.setdefault(f"{decision.decision_id}/{choice.slot}", set()).add(
                choice.treatment
            )
    assert all(len(treatments) == 1 for treatments in treatments_by_slot.values())
    for _, action in shop.records.read_all(topics.actions("web"), Action):
        assert treatments_by_slot[f"{action.decision_id}/hero"] == {action.treatment}


def test_decision_names_its_snapshot_and_runs_again_with_it(shop: Stack) -> None:
    names = (f"other-{number}" for number in range(10_000))
    _send_customers(shop, names, 6)
    shop.wait_until_idle()
    known_number = eventually(lambda: _complete_snapshot(shop)).number

    def find_explanation() -> Any:
        decision_id = _send_customers(shop, names, 1)
        shop.wait_until_idle()
        explanation = shop.ask("explain", decision_id, "--rerun")
        return (
            explanation if int(explanation["snapshot"].partition("-")[0]) >= known_number else None
        )

    explanation = eventually(find_explanation)
    assert explanation["same"] is True
    [hero] = [slot for slot in explanation["slots"] if slot["slot"] == "hero"]
    assert 0 < hero["propensity"] < 1
    assert all(0 < candidate["p"] < 1 for candidate in hero["candidates"])
    _send_customers(shop, names, 6)  # a newer snapshot than the named one is out
    shop.wait_until_idle()
    eventually(
        lambda: (
            knowledge_of(eventually(lambda: _complete_snapshot(shop))).name
            != explanation["snapshot"]
        )
    )
    assert shop.ask("explain", explanation["decision_id"], "--rerun")["same"] is True


def test_preview_has_the_propensities_of_the_pipeline(shop: Stack) -> None:
    names = (f"third-{number}" for number in range(10_000))
    _send_customers(shop, names, 6)
    shop.wait_until_idle()
    snapshot = eventually(lambda: _complete_snapshot(shop))
    [hero] = (
        slot
        for slot in shop.ask("preview", f"customer_id:{next(names)}", "--placement", "hero")[
            "slots"
        ]
        if slot["slot"] == "hero"
    )
    chosen_treatment = hero["chosen"] and hero["chosen"]["treatment"]
    with shop.client(_KEY) as client:  # sooner than the next snapshot
        ids = {_ask(client, next(names))["decision_id"] for _ in range(20)}
    shop.wait_until_idle()
    choices = [
        choice
        for _, decision in shop.records.read_all(topics.DECISIONS, Decision)
        if decision.decision_id in ids and decision.snapshot == knowledge_of(snapshot).name
        for choice in decision.choices
        if choice.slot == "hero"
    ]
    assert choices
    propensities = [choice.propensity for choice in choices if choice.treatment == chosen_treatment]
    assert set(propensities) <= {hero["propensity"]}
    assert {choice.treatment for choice in choices} <= {"shoes-hero", "hats-hero", None}
