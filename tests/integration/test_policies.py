"""Policies over the running pipeline: a fact from one channel holds on every other at once."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from pipeline.adapters.avro import Codec, recorded_versions
from pipeline.adapters.log_clock import LogClock
from pipeline.model import topics
from pipeline.model.decision import Action, Cancellation
from pipeline.model.ids import profile_id
from pipeline.model.interaction import Identifier, Interaction
from tests.support.receiver import PlannedAnswer, Receiver
from tests.support.stack import Stack, eventually, running_stack

_CONFIGURATION = Path(__file__).parent / "policies"
_START = datetime(2024, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[Stack]:
    """Stack of its own, whose sources, except the app and the adapters, state the time of their
    events."""
    variables = {
        "TEST_RECEIVER": receiver.url,
        "KAIROS_PARTITIONS": "3",
        "KAIROS_DECIDE_BUDGET_MS": "30000",
    }
    home = tmp_path_factory.mktemp("bank")
    with running_stack(Stack(home, _CONFIGURATION, variables), "--workers", "all") as stack:
        yield stack


class _BankCustomer:
    """Customer with a name at the bank and a cookie."""

    def __init__(self, bank: Stack) -> None:
        self._bank = bank
        self.name = f"c{uuid4().hex[:12]}"
        self.cookie = f"k-{self.name}"

    def link_cookie(self) -> None:
        """Link the cookie to the customer, and wait until the cookie's partition knows it."""
        self.send("web", "Login", timedelta(hours=-1), userId=self.name, anonymousId=self.cookie)
        self._bank.wait_until_idle()

    def send(self, key: str, name: str, moment: timedelta, **parts: Any) -> None:
        """Send an event without placements, and wait for its decision."""
        self.ask(key, name, moment, **parts)

    def ask(
        self, key: str, name: str, moment: timedelta, *placements: str, **parts: Any
    ) -> dict[str, Any]:
        """Ask for a decision, and return the answer."""
        message = {
            "type": "track",
            "event": name,
            "messageId": str(uuid4()),
            "timestamp": (_START + moment).isoformat(),
            **parts,
        }
        question = {"interaction": message, "placements": placements or ("nowhere",)}
        with self._bank.client(f"policy-{key}-key") as client:
            answer: dict[str, Any] = (
                client.post("/v1/decide", json=question).raise_for_status().json()
            )
        return answer

    def view_page(self, moment: timedelta) -> dict[str, Any]:
        """View the web page as a customer known by the cookie only."""
        return self.ask("web", "Viewed", moment, "hero", anonymousId=self.cookie)

    def sent_treatments(self, decision_id: str, *channels: str) -> list[str]:
        """Return the treatments that a decision sent on these channels."""
        actions = (
            action
            for channel in channels
            for _, action in self._bank.records.read_all(topics.actions(channel), Action)
        )
        return [action.treatment for action in actions if action.decision_id == decision_id]

    def ask_for_brochure(self, moment: timedelta) -> dict[str, Any]:
        """Ask for a brochure, which sends a letter and starts sales."""
        return self.ask("web", "Brochure Asked", moment, userId=self.name)

    def cancellations(self) -> list[Cancellation]:
        """Return the cancellations of the customer's waiting actions."""
        records = self._bank.records.read_all(topics.CANCELLATIONS, Cancellation)
        own_profile_id = profile_id(Identifier("customer_id", self.name))
        return [
            cancellation for _, cancellation in records if cancellation.profile_id == own_profile_id
        ]


@pytest.fixture
def customer(bank: Stack) -> _BankCustomer:
    return _BankCustomer(bank)


def _shown_treatment(answer: dict[str, Any], placement: str) -> str | None:
    shown_placement = answer["placements"][placement]
    return None if shown_placement is None else shown_placement["treatment"]


def _explain(bank: Stack, answer: dict[str, Any], *options: str) -> Any:
    """Wait until the decision is written, and return its explanation."""
    bank.wait_until_idle()
    return bank.ask("explain", answer["decision_id"], *options)


def test_complaint_by_phone_silences_sales_on_a_linked_cookie_for_its_time(
    bank: Stack, customer: _BankCustomer
) -> None:
    customer.link_cookie()
    assert _shown_treatment(customer.view_page(timedelta(minutes=-1)), "hero") == "gold-hero"
    customer.send("call", "Complaint", timedelta(), userId=customer.name)
    refused_view = customer.view_page(timedelta(minutes=4, seconds=59))
    assert _shown_treatment(refused_view, "hero") is None
    payment_answer = customer.ask("web", "Payment", timedelta(minutes=4), userId=customer.name)
    eventually(
        lambda: (
            customer.sent_treatments(payment_answer["decision_id"], "email")
            == ["confirmation-email"]
        )
    )
    assert (
        _shown_treatment(customer.view_page(timedelta(minutes=5, seconds=1)), "hero") == "gold-hero"
    )
    explanation = _explain(bank, refused_view, "--rerun")
    assert explanation["same"] is True
    [slot] = [slot for slot in explanation["slots"] if slot["slot"] == "hero"]
    rules = {(rejection["stage"], rejection["rule"]) for rejection in slot["rejected"]}
    assert rules == {("constraint", "suppression complained")}


def test_complaint_made_before_the_identities_merged_counts(customer: _BankCustomer) -> None:
    customer.send("call", "Complaint", timedelta(), userId=customer.name)
    assert _shown_treatment(customer.view_page(timedelta(seconds=1)), "hero") == "gold-hero"
    customer.send(
        "web", "Login", timedelta(seconds=2), userId=customer.name, anonymousId=customer.cookie
    )

    def is_silent() -> bool:
        return _shown_treatment(customer.view_page(timedelta(minutes=4)), "hero") is None

    eventually(is_silent)
    assert _shown_treatment(customer.view_page(timedelta(minutes=5)), "hero") == "gold-hero"


def test_failed_credit_check_stops_card_offers_a_moment_later(
    bank: Stack, customer: _BankCustomer
) -> None:
    customer.link_cookie()
    customer.send("api", "Credit Check Failed", timedelta(), userId=customer.name)
    seen_view = customer.view_page(timedelta(milliseconds=100))
    assert _shown_treatment(seen_view, "hero") == "house-hero"
    explanation = _explain(bank, seen_view)
    [slot] = [slot for slot in explanation["slots"] if slot["slot"] == "hero"]
    [rejection] = slot["rejected"]
    assert (rejection["treatment"], rejection["rule"]) == (
        "gold-hero",
        "suppression credit-refused",
    )
    assert _shown_treatment(customer.view_page(timedelta(days=90)), "hero") == "gold-hero"


def test_payment_is_answered_with_the_receipts_text(customer: _BankCustomer) -> None:
    named_customer = {"userId": customer.name, "properties": {"first_name": "Zoë <3"}}
    first_answer = customer.ask("till", "Payment", timedelta(), "receipt", **named_customer)
    assert _shown_treatment(first_answer, "receipt") is None
    second_answer = customer.ask(
        "till", "Payment", timedelta(minutes=1), "receipt", **named_customer
    )
    text = second_answer["placements"]["receipt"]["content"]["text"]
    assert text == "Zoë <3, payment 2 brings a coffee & a cake"


@pytest.mark.parametrize(
    ("worth", "treatments"), [(24, []), (112, ["review-email"]), (113, ["review-call"])]
)
def test_worth_of_the_customer_decides_between_e_mail_and_call(
    bank: Stack, customer: _BankCustomer, worth: float, treatments: list[str]
) -> None:
    # 0.02 × worth − 0.5 against 0.06 × worth − 5: they break even at 112.5.
    properties = {"worth": worth}
    answer = customer.ask(
        "web", "Review Due", timedelta(), userId=customer.name, properties=properties
    )
    slots = _explain(bank, answer)["slots"]
    chosen_treatments = [
        slot["chosen"]["treatment"] for slot in slots if slot["chosen"] is not None
    ]
    assert chosen_treatments == treatments
    eventually(
        lambda: customer.sent_treatments(answer["decision_id"], "email", "call") == treatments
    )


def test_sales_that_wait_in_an_adapter_are_cancelled_by_a_complaint(
    bank: Stack, receiver: Receiver, customer: _BankCustomer
) -> None:
    receiver.prepare(customer.name, *[PlannedAnswer(503)] * 100)
    customer.ask_for_brochure(timedelta())
    [first_post, *_] = eventually(lambda: receiver.posts(customer.name))
    customer.send("call", "Complaint", timedelta(minutes=1), userId=customer.name)
    [cancellation] = eventually(customer.cancellations)
    assert (cancellation.action_id, cancellation.why) == (first_post.key, "complained")
    outcome = eventually(lambda: _outcome(bank, first_post.key))
    assert (outcome.name, outcome.properties["cancelled"]) == ("expired", "complained")
    post_count = len(receiver.posts(customer.name))
    receiver.accept_all(customer.name)
    bank.wait_until_idle()
    # The undelivered letter gave its cap back.
    second_answer = customer.ask_for_brochure(timedelta(minutes=7))
    eventually(
        lambda: (
            customer.sent_treatments(second_answer["decision_id"], "letter") == ["brochure-letter"]
        )
    )
    keys = eventually(lambda: [post.key for post in receiver.posts(customer.name)][post_count:])
    assert first_post.key not in keys


def test_retried_sales_are_decided_again_by_later_events(
    bank: Stack, receiver: Receiver, customer: _BankCustomer
) -> None:
    receiver.prepare(customer.name, *[PlannedAnswer(503)] * 100)
    with bank.client("policy-app-key") as client:
        for name, properties in (
            ("Sample Asked", {}),
            ("Visited", {}),
            ("Asked", {"declined": "yes"}),
        ):
            event = {"event": name, "userId": customer.name, "properties": properties}
            client.post("/v1/track", json=event).raise_for_status()
            [first_post, *_] = eventually(lambda: receiver.posts(customer.name))
    [cancellation] = eventually(customer.cancellations)
    assert (cancellation.action_id, cancellation.why) == (
        first_post.key,
        "eligibility/still-wanted",
    )
    assert cancellation.at == _receipt_ms(bank, customer, "Asked")
    outcome = eventually(lambda: _outcome(bank, first_post.key))
    assert (outcome.name, outcome.properties["cancelled"]) == ("expired", cancellation.why)


def test_sales_of_the_night_wait_for_the_morning_and_are_cancelled_by_a_complaint(
    bank: Stack, receiver: Receiver, customer: _BankCustomer
) -> None:
    other_customer, night = _BankCustomer(bank), timedelta(hours=11)
    clock = LogClock(bank.settings.kafka(), Codec(recorded_versions()), 3)
    answers = {person.name: person.ask_for_brochure(night) for person in (customer, other_customer)}
    explanation = bank.kairos("explain", answers[other_customer.name]["decision_id"])
    assert "waits for the end of quiet hours, at 2024-03-02T08:00:00+00:00" in explanation
    customer.send("call", "Complaint", night + timedelta(minutes=1), userId=customer.name)
    other_customer.send("till", "Payment", night + timedelta(minutes=2), userId=other_customer.name)
    [cancellation] = eventually(customer.cancellations)
    assert cancellation.action_id is None
    clock.tick(round((_START + timedelta(hours=20)).timestamp() * 1000))
    [post] = eventually(lambda: receiver.posts(other_customer.name))
    assert post.action["content"] == {"text": "1"}  # rendered with the traits of the morning
    rerun = bank.ask("explain", post.action["decision_id"], "--rerun")
    assert rerun["same"] is True
    bank.wait_until_idle()
    assert receiver.posts(customer.name) == []


def _outcome(bank: Stack, action_id: str) -> Interaction | None:
    """Return the first interaction about an action, None before there is one."""
    interactions = (
        interaction for _, interaction in bank.records.read_all(topics.INTERACTIONS, Interaction)
    )
    return next(
        (
            interaction
            for interaction in interactions
            if interaction.properties.get("action_id") == action_id
        ),
        None,
    )


def _receipt_ms(bank: Stack, customer: _BankCustomer, name: str) -> int | None:
    """Return the time (epoch ms) at which an event of the customer was received, None before."""
    interactions = (
        interaction for _, interaction in bank.records.read_all(topics.INTERACTIONS, Interaction)
    )
    own_interactions = (
        interaction
        for interaction in interactions
        if interaction.identifiers[0].value == customer.name
    )
    return next(
        (interaction.received_at for interaction in own_interactions if interaction.name == name),
        None,
    )
