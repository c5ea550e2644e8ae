"""Reasons in the answer of `/v1/decide` for a placement without an action."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.adapters.kafka import OutgoingRecord
from pipeline.config import model
from pipeline.model.decision import Answer, Reply
from tests.support.doorway import Doorway, configuration, doorway

KEY = "shop-key-12345"


@pytest.fixture
def door(tmp_path: Path) -> Doorway:
    return doorway(configuration(model.Source("shop", "web", KEY)), tmp_path)


def reply_with_defaults(door: Doorway) -> None:
    """Let the pipeline reply to every request, at once, with no action for any placement."""

    def on_publish(_: Sequence[OutgoingRecord]) -> None:
        request = door.interactions()[-1].request
        assert request is not None
        answers = tuple(Answer(placement) for placement in request.placements)
        door.pending_replies.deliver([Reply(request.request_id, "d-1", "e-1", answers)])

    door.log.on_publish = on_publish


def decide(door: Doorway, *placements: str | dict[str, Any]) -> dict[str, Any]:
    interaction = {"type": "page", "userId": "ana"}

    body = {"interaction": interaction, "placements": placements}
    answer = door.request("POST", "/v1/decide", KEY, json=body)
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result


def test_placement_of_a_channel_without_an_action_needs_no_reason(door: Doorway) -> None:
    reply_with_defaults(door)
    assert decide(door, "hero") == {
        "decision_id": "d-1",
        "placements": {"hero": None},
        "defaulted": False,
    }


def test_placements_of_no_channel_are_named(door: Doorway) -> None:
    reply_with_defaults(door)
    assert decide(door, "hero", "heroo", {"placement": "gird", "limit": 2}) == {
        "decision_id": "d-1",
        "placements": {"hero": None, "heroo": None, "gird": []},
        "defaulted": False,
        "unknown_placements": ["heroo", "gird"],
    }


def test_default_after_the_budget_has_its_reason(door: Doorway) -> None:
    assert decide(door, "hero", "heroo") == {
        "decision_id": None,
        "placements": {"hero": None, "heroo": None},
        "defaulted": True,
        "reason": "out_of_time",
        "unknown_placements": ["heroo"],
    }
