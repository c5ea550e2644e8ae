"""Every interaction of a customer reviews the messages that wait in an adapter, for example while a
provider is down, and cancels those that would not be decided any more."""

from datetime import datetime
from random import Random
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.model.decision import Action, Cancellation
from pipeline.model.interaction import Identifier
from pipeline.model.time import DAY_MS, HOUR_MS, MINUTE_MS
from tests.support.cases import cases
from tests.support.deciding import Life, campaign, offer, world

_START: Final = round(datetime.fromisoformat("2024-01-15T12:00:00+00:00").timestamp() * 1000)
_CHANNELS: Final = {
    "channels": [
        {"name": "web"},
        {"name": "email", "adapter": "webhook", "url": "https://mail.example"},
    ]
}
_MAIL: Final = {"treatment": "mail", "channel": "email", "deadline": "12h"}
_CONSENT: Final = {"consent": "mail", "when": {"not": {"trait": "stop", "is": "yes"}}}
_PURCHASE_RULE: Final = {"rule": "wanted", "when": {"not": {"trait": "bought", "is": "yes"}}}
_COMPLAINT: Final = {"suppression": "complained", "duration": "5m", "when": {"name": "Complaint"}}
_CAP: Final = {"cap": "one", "per": "campaign", "max": 1, "window": "1d"}


def _life(policies: dict[str, Any] | None = None, **parts: Any) -> Life:
    sales = campaign("sales", offer("o", 9, _MAIL), **{"eligibility": [_PURCHASE_RULE], **parts})
    rules = {
        "consent": [_CONSENT],
        "suppressions": [_COMPLAINT],
        "caps": [_CAP],
        **(policies or {}),
    }
    traits = ("bought", "stop")
    return Life(world(traits=traits, channels=_CHANNELS, campaigns=[sales], policies=rules))


def _cancellations(life: Life) -> list[tuple[str | None, str]]:
    cancellations = (emit.value for emit in life.emits if isinstance(emit.value, Cancellation))
    return [(cancellation.action_id, cancellation.why) for cancellation in cancellations]


@pytest.mark.parametrize(
    ("name", "traits", "reason"),
    [
        ("Ordered", {"bought": "yes"}, "eligibility/wanted"),
        ("Left", {"stop": "yes"}, "consent mail"),
        ("Complaint", {}, "complained"),
    ],
)
def test_message_that_would_not_be_decided_any_more_is_cancelled(
    name: str, traits: Any, reason: str
) -> None:
    life = _life()
    life.interact("Go", _START)
    [action] = life.actions()
    life.interact("View", _START + 1)
    assert _cancellations(life) == []
    life.interact(name, _START + MINUTE_MS, **traits)
    assert _cancellations(life) == [(action.action_id, reason)]
    life.interact("View", _START + 2 * MINUTE_MS)
    assert _cancellations(life) == []


@pytest.mark.parametrize("outcome", ["sent", "expired"])
def test_sent_or_expired_message_is_not_cancelled(outcome: str) -> None:
    life = _life()
    life.interact("Go", _START)
    [action] = life.actions()
    life.react(action, outcome, _START + 1)
    life.interact("Ordered", _START + MINUTE_MS, bought="yes")
    assert _cancellations(life) == []


def test_rules_on_an_interaction_do_not_read_a_later_interaction() -> None:
    cart_rule = {"rule": "asked", "when": {"property": "page", "is": "cart"}}
    life = _life(eligibility=[cart_rule])
    life.interact("Go", _START, page="cart")
    assert life.treatments() == ["mail"]
    life.interact("View", _START + MINUTE_MS, page="home")
    assert _cancellations(life) == []


def test_later_message_that_exceeds_a_cap_after_a_merge_is_cancelled() -> None:
    life = _life()
    cookie, customer = Identifier("cookie", "k"), Identifier("customer_id", "ada")
    life.interact("Go", _START, identifiers=(cookie,))
    life.interact("Go", _START + 1, identifiers=(customer,))
    [later_action] = life.actions()
    life.interact("Login", _START + 2, identifiers=(customer, cookie))
    assert _cancellations(life) == [(later_action.action_id, "cap one")]


def test_message_is_cancelled_when_time_alone_ends_its_audience() -> None:
    recent = {"segment": "recent", "when": {"trait": "seen", "within": "1h"}}
    sales = campaign("sales", offer("o", 9, _MAIL), audience={"segment": "recent"})
    life = Life(
        world(
            profile={"traits": [{"name": "seen", "rule": "latest", "of": "occurred_at"}]},
            channels=_CHANNELS,
            segments=[recent],
            campaigns=[sales],
        )
    )
    life.interact("Go", _START)
    [action] = life.actions()
    life.emits = list(life.flow.advance(_START + HOUR_MS + MINUTE_MS))
    assert _cancellations(life) == [(action.action_id, "eligibility/audience")]


@pytest.mark.parametrize(
    ("parts", "policies", "minutes"),
    [
        ({}, {}, 12 * 60),
        ({}, {"quiet_hours": [{"quiet": "q", "from": "14:00", "to": "08:00", "zone": "UTC"}]}, 120),
        ({"ends": "2024-01-15T15:00:00Z"}, {}, 180),
    ],
)
def test_deadline_ends_at_quiet_hours_and_at_the_end_of_the_campaign(
    parts: Any, policies: Any, minutes: int
) -> None:
    life = _life(policies, **parts)
    life.interact("Go", _START)
    [action] = life.actions()
    assert action.deadline_at - _START == minutes * MINUTE_MS


class _Oracle:
    """Messages that wait, and the traits that the customer has set."""

    def __init__(self) -> None:
        self.waiting_actions: dict[str, Action] = {}
        self.traits: dict[str, str] = {}

    def add_interaction(self, name: str, properties: dict[str, str], at_ms: int) -> set[str]:
        """Apply the traits of an interaction; return the ids of the actions that it must cancel."""
        self.traits |= properties
        is_ineligible = "yes" in (self.traits.get("bought"), self.traits.get("stop"))
        if not is_ineligible and name != "Complaint":
            return set()
        return {key for key, action in self.waiting_actions.items() if action.deadline_at > at_ms}


@settings(max_examples=cases(150), deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_exactly_the_messages_that_would_not_be_decided_are_cancelled(seed: int) -> None:
    random, life, oracle, at_ms = Random(seed), _life(), _Oracle(), _START
    for _ in range(40):
        at_ms += random.choice((1, MINUTE_MS, HOUR_MS, DAY_MS))
        name = random.choice(("Go", "Go", "View", "Ordered", "Left", "Complaint", "Outcome"))
        if name == "Outcome":
            if oracle.waiting_actions:
                action = oracle.waiting_actions.pop(random.choice(sorted(oracle.waiting_actions)))
                life.react(action, random.choice(("sent", "expired", "bounce")), at_ms)
            continue
        answer = random.choice(("yes", "no"))
        properties = {"Ordered": {"bought": answer}, "Left": {"stop": answer}}.get(name, {})
        expected = oracle.add_interaction(name, properties, at_ms)
        life.interact(name, at_ms, **properties)
        assert {key for key, _ in _cancellations(life)} == expected
        oracle.waiting_actions = {
            key: action for key, action in oracle.waiting_actions.items() if key not in expected
        } | {action.action_id: action for action in life.actions()}


def test_message_without_reports_of_its_delivery_is_not_reviewed() -> None:
    sales = campaign("sales", offer("o", 9, _MAIL), eligibility=[_PURCHASE_RULE])
    life = Life(world(traits=("bought",), campaigns=[sales]))
    life.interact("Go", _START)
    assert life.treatments() == ["mail"]
    life.interact("Ordered", _START + MINUTE_MS, bought="yes")
    assert _cancellations(life) == []
