"""Reasons in the answer of `/v1/receipts` when nothing is printed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.adapters.kafka import OutgoingRecord
from pipeline.config import model
from pipeline.model import topics
from pipeline.model.decision import Action, Answer, Reply
from pipeline.model.interaction import Identifier
from tests.support.doorway import Doorway, configuration, doorway

KEY = "till-key-12345"
COUPON_ACTION = Action(
    action_id="a-1",
    decision_id="d-1",
    event_id="e-1",
    profile_id="p",
    identifier=Identifier("customer_id", "ana"),
    purpose="marketing",
    campaign="spring",
    offer="shoes",
    treatment="shoes-pos",
    channel="web",
    placement="hero",
    address=None,
    content={"coupon": "10 % off"},
    created_at=0,
    deadline_at=60_000,
    token="t",
)


@pytest.fixture
def door(tmp_path: Path) -> Doorway:
    config = configuration(model.Source("till", "pos", KEY))
    return doorway(config, tmp_path, decide_ms=1_000)


def reply_with(door: Doorway, action: Action | None) -> None:
    """Reply to every request at once, with `action` for its placement; if there is an action, Kafka
    is unavailable afterwards."""

    def on_publish(records: Sequence[OutgoingRecord]) -> None:
        if records[0].topic != topics.INTERACTIONS:
            return
        request = door.interactions()[-1].request
        assert request is not None
        answer = Answer(request.placements[0], action)
        door.pending_replies.deliver([Reply(request.request_id, "d-1", "e-1", (answer,))])
        if action is not None:
            door.log.failure = "Kafka is away"  # by now the interaction is written

    door.log.on_publish = on_publish


def pay(door: Doorway, placement: str, budget_ms: int | None = None) -> dict[str, Any]:
    interaction = {"type": "track", "event": "Payment", "userId": "ana"}

    body = {"interaction": interaction, "placement": placement, "budget_ms": budget_ms}
    answer = door.request("POST", "/v1/receipts", KEY, json=body)
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result


def test_placement_of_a_channel_without_an_action_needs_no_reason(door: Doorway) -> None:
    reply_with(door, None)
    assert pay(door, "hero") == {"decision_id": "d-1", "receipt": None, "defaulted": False}


def test_placement_of_no_channel_is_named(door: Doorway) -> None:
    reply_with(door, None)
    assert pay(door, "receit") == {
        "decision_id": "d-1",
        "receipt": None,
        "defaulted": False,
        "unknown_placements": ["receit"],
    }


def test_default_after_the_budget_has_its_reason(door: Doorway) -> None:
    assert pay(door, "receit", budget_ms=1) == {
        "decision_id": None,
        "receipt": None,
        "defaulted": True,
        "reason": "out_of_time",
        "unknown_placements": ["receit"],
    }


def test_unacknowledged_coupon_is_the_reason_of_a_default(door: Doorway) -> None:
    reply_with(door, COUPON_ACTION)
    assert pay(door, "hero") == {
        "decision_id": "d-1",
        "receipt": None,
        "defaulted": True,
        "reason": "coupon_not_issued",
    }
