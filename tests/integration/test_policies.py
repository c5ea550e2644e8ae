"""Policies over the running pipeline: what one channel learns holds on every other at once."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from pipeline.model import topics
from pipeline.model.decision import Action
from tests.support.stack import Stack, eventually, running_stack

_CONFIGURATION = Path(__file__).parent / "policies"
_START = datetime(2024, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of its own, whose sources all bring their time."""
    variables = {"KAIROS_PARTITIONS": "3", "KAIROS_DECIDE_BUDGET_MS": "30000"}
    home = tmp_path_factory.mktemp("bank")
    with running_stack(Stack(home, _CONFIGURATION, variables), "--workers", "all") as stack:
        yield stack


class _Customer:
    """Somebody with a name at the bank, a cookie and an address."""

    def __init__(self, bank: Stack) -> None:
        self._bank = bank
        self.name = f"c{uuid4().hex[:12]}"
        self.cookie = f"k-{self.name}"

    def links(self) -> None:
        """The cookie is theirs."""
        self.does("web", "Login", timedelta(hours=-1), userId=self.name, anonymousId=self.cookie)

    def does(self, key: str, name: str, after: timedelta, **parts: Any) -> None:
        """Something that nobody answers; it is decided when this returns."""
        self.asks(key, name, after, **parts)

    def asks(
        self, key: str, name: str, after: timedelta, *placements: str, **parts: Any
    ) -> dict[str, Any]:
        """What is answered."""
        message = {
            "type": "track",
            "event": name,
            "messageId": str(uuid4()),
            "timestamp": (_START + after).isoformat(),
            **parts,
        }
        asked = {"interaction": message, "placements": placements or ("nowhere",)}
        with self._bank.client(f"policy-{key}-key") as client:
            found: dict[str, Any] = client.post("/v1/decide", json=asked).raise_for_status().json()
        return found

    def views(self, after: timedelta) -> dict[str, Any]:
        """The web page, known by its cookie only."""
        return self.asks("web", "Viewed", after, "hero", anonymousId=self.cookie)

    def sent(self, decision_id: str, *channels: str) -> list[str]:
        """The treatments that a decision sent on these channels."""
        every = (
            action
            for channel in channels
            for _, action in self._bank.records.every(topics.actions(channel), Action)
        )
        return [one.treatment for one in every if one.decision_id == decision_id]


@pytest.fixture
def customer(bank: Stack) -> _Customer:
    return _Customer(bank)


def _shown(answer: dict[str, Any], placement: str) -> str | None:
    shown = answer["placements"][placement]
    return None if shown is None else shown["treatment"]


def test_a_complaint_by_phone_silences_sales_on_a_linked_cookie_for_its_time(
    bank: Stack, customer: _Customer
) -> None:
    customer.links()
    assert _shown(customer.views(timedelta(minutes=-1)), "hero") == "gold-hero"
    customer.does("call", "Complaint", timedelta(), userId=customer.name)
    refused = customer.views(timedelta(minutes=4, seconds=59))
    assert _shown(refused, "hero") is None
    paid = customer.asks("web", "Payment", timedelta(minutes=4), userId=customer.name)
    eventually(lambda: customer.sent(paid["decision_id"], "email") == ["confirmation-email"])
    assert _shown(customer.views(timedelta(minutes=5, seconds=1)), "hero") == "gold-hero"
    told = bank.json("explain", refused["decision_id"], "--rerun")
    assert told["same"] is True
    [slot] = [one for one in told["slots"] if one["slot"] == "hero"]
    rules = {(one["stage"], one["rule"]) for one in slot["rejected"]}
    assert rules == {("constraint", "suppression complained")}


def test_a_complaint_made_before_the_identities_merged_counts(customer: _Customer) -> None:
    customer.does("call", "Complaint", timedelta(), userId=customer.name)
    assert _shown(customer.views(timedelta(seconds=1)), "hero") == "gold-hero"
    customer.does(
        "web", "Login", timedelta(seconds=2), userId=customer.name, anonymousId=customer.cookie
    )

    def silent() -> bool:
        return _shown(customer.views(timedelta(minutes=4)), "hero") is None

    eventually(silent)
    assert _shown(customer.views(timedelta(minutes=5)), "hero") == "gold-hero"


def test_a_failed_credit_check_stops_card_offers_a_moment_later(
    bank: Stack, customer: _Customer
) -> None:
    customer.links()
    customer.does("api", "Credit Check Failed", timedelta(), userId=customer.name)
    seen = customer.views(timedelta(milliseconds=100))
    assert _shown(seen, "hero") == "house-hero"
    told = bank.json("explain", seen["decision_id"])
    [slot] = [one for one in told["slots"] if one["slot"] == "hero"]
    [why] = slot["rejected"]
    assert (why["treatment"], why["rule"]) == ("gold-hero", "suppression credit-refused")
    assert _shown(customer.views(timedelta(days=90)), "hero") == "gold-hero"


def test_a_payment_is_answered_with_what_the_receipt_says(customer: _Customer) -> None:
    named = {"userId": customer.name, "properties": {"first_name": "Zoë <3"}}
    first = customer.asks("till", "Payment", timedelta(), "receipt", **named)
    assert _shown(first, "receipt") is None
    second = customer.asks("till", "Payment", timedelta(minutes=1), "receipt", **named)
    text = second["placements"]["receipt"]["content"]["text"]
    assert text == "Zoë <3, payment 2 brings a coffee & a cake"


@pytest.mark.parametrize(
    ("worth", "said"), [(24, []), (112, ["review-email"]), (113, ["review-call"])]
)
def test_e_mail_or_call_by_what_the_customer_is_worth(
    bank: Stack, customer: _Customer, worth: float, said: list[str]
) -> None:
    """0.02 × worth − 0.5 against 0.06 × worth − 5: they break even at 112.5."""
    properties = {"worth": worth}
    due = customer.asks(
        "web", "Review Due", timedelta(), userId=customer.name, properties=properties
    )
    slots = bank.json("explain", due["decision_id"])["slots"]
    chosen = [slot["chosen"]["treatment"] for slot in slots if slot["chosen"] is not None]
    assert chosen == said
    eventually(lambda: customer.sent(due["decision_id"], "email", "call") == said)
