"""`kairos explain` and `kairos preview` on a running stack: explanations are of the decision made,
and previews come true."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.support.stack import Stack

_SHAPE = ["decision_id", "profile_id", "decided_at", "config", "snapshot", "slots", "words"]


def _decide(stack: Stack, customer_id: str) -> Any:
    with stack.client("test-app-key") as client:
        question = {
            "interaction": {"type": "page", "name": "Home", "userId": customer_id},
            "placements": ["hero"],
        }
        answer = client.post("/v1/decide", json=question).raise_for_status().json()
    stack.wait_until_idle()  # the answer may be readable before its decision
    return answer


def _hero(explanation: Any) -> Any:
    return next(slot for slot in explanation["slots"] if slot["slot"] == "hero")


def test_preview_comes_true_and_the_decision_is_explained(stack: Stack) -> None:
    customer_id = f"c-{uuid4()}"
    name = f"customer_id:{customer_id}"
    command = ("preview", name, "--placement", "hero")
    assert _hero(stack.ask(*command))["chosen"]["treatment"] == "hello-hero"
    first_answer = _decide(stack, customer_id)
    assert first_answer["placements"]["hero"]["treatment"] == "hello-hero"

    explanation = stack.ask("explain", first_answer["decision_id"], "--rerun")
    assert list(explanation) == [*_SHAPE, "same"]
    assert explanation["same"] is True
    assert explanation["decision_id"] == first_answer["decision_id"]
    assert _hero(explanation)["chosen"]["treatment"] == "hello-hero"
    assert _hero(explanation)["candidates"][1]["fate"] == "beaten by hello-hero"

    for _ in range(2):  # a preview uses no cap
        preview = stack.ask(*command)
        assert list(preview) == _SHAPE
        assert _hero(preview)["chosen"]["treatment"] == "again-hero"
        assert _hero(preview)["rejected"][0]["rule"] == "cap offer-once-a-day"
    second_answer = _decide(stack, customer_id)
    assert second_answer["placements"]["hero"]["treatment"] == "again-hero"
    assert _hero(stack.ask("explain", second_answer["decision_id"], "--rerun"))["rejected"]


def test_placement_that_wants_a_list_gets_it_in_order(stack: Stack) -> None:
    message = {"type": "page", "name": "Home", "userId": f"c-{uuid4()}"}
    with stack.client("test-app-key") as client:

        def ask(*placements: Any) -> Any:
            body = {"interaction": message, "placements": placements}
            return client.post("/v1/decide", json=body)

        answer = ask({"placement": "hero", "limit": 5}, {"placement": "banner", "limit": 2})
        placements = answer.raise_for_status().json()["placements"]
        assert [choice["treatment"] for choice in placements["hero"]] == [
            "hello-hero",
            "again-hero",
        ]
        assert len({choice["token"] for choice in placements["hero"]}) == 2
        assert placements["banner"] == []
        for limit in (0, -1, 101):
            refused_answer = ask({"placement": "hero", "limit": limit})
            assert refused_answer.status_code == 400
            assert refused_answer.json()["error"]["field"] == "placements"


def test_event_of_a_file_goes_through_all_stages(stack: Stack, tmp_path: Path) -> None:
    customer_id = f"c-{uuid4()}"
    event = tmp_path / "event.ndjson"
    identifiers = [{"namespace": "email", "value": f"{customer_id}@example.com"}]
    event.write_text(json.dumps({"kind": "track", "name": "Order", "identifiers": identifiers}))
    explanation = stack.ask("preview", f"customer_id:{customer_id}", "--event", str(event))
    mail = next(slot for slot in explanation["slots"] if slot["slot"] == "email")
    assert mail["chosen"]["treatment"] == "thanks-email"
    result = stack.run(
        "preview", f"customer_id:{customer_id}", "--event", str(event), "--lang", "es"
    )
    assert "puntuación" in result.stdout
    assert stack.run("profile", "show", f"customer_id:{customer_id}").returncode == 1


def test_missing_decision_placement_and_channel_are_named(stack: Stack) -> None:
    for arguments, words in (
        (("explain", "no-such-decision"), "no decision no-such-decision"),
        (("preview", "customer_id:x", "--placement", "hro"), "there is no placement 'hro'"),
        (("preview", "customer_id:x", "--channel", "wep"), "has no channel 'wep'"),
    ):
        result = stack.run(*arguments)
        assert result.returncode == 1
        assert words in result.stderr
