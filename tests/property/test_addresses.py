"""Nothing is ever sent to an address that is another person's, and no address is lost."""

from collections.abc import Iterable, Sequence
from dataclasses import replace as with_fields

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline.flow import Flow
from pipeline.identity.record_factory import profile_of
from pipeline.model import topics
from pipeline.model.budget import TOKENS, Purse
from pipeline.model.decision import Action, Contact, Decision
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.outcome import Emit
from pipeline.model.profile import Profile
from pipeline.rules import Rules
from tests.support.cases import cases
from tests.support.identity_streams import Record
from tests.support.interleaving import InterleavedFlow
from tests.support.offers import offering_rules
from tests.support.persons import interaction_at, mailing_rules, order, persons, roots, streams
from tests.support.worlds import rules

_ADDRESSES = {"email": "email", "sms": "phone"}
"""The namespace of each channel's addresses."""

_ONE_PERSON: list[Record] = [
    interaction_at(1, "customer_id:A", "card:1", "email:x"),
    interaction_at(2, "email:x", "phone:7"),
    interaction_at(3, "card:1", "email:x"),
]
"""The e-mail goes from one parent to another, and stays with the same person."""


@settings(max_examples=cases(300), deadline=None)
@example(_ONE_PERSON, None)
@given(streams(), st.data())
def test_profiles_name_their_persons_identifiers_in_every_order_of_delivery(
    stream: list[Record], data: st.DataObject | None
) -> None:
    if data is None:
        partitions, choose = 1, lambda _: 0
    else:
        random = data.draw(st.randoms(use_true_random=False))
        partitions, choose = data.draw(st.integers(1, 4)), random.randrange
    flow = InterleavedFlow(mailing_rules(), partitions, choose)
    for record in stream:
        flow.put(record)
        for _ in range(choose(4)):
            _step(flow)
    while _step(flow):
        pass
    addresses_by_profile = {profile_of(top): names for top, names in persons(stream).items()}
    assert _names_by_profile(flow.outputs) == {
        key: addresses_by_profile.get(key, set()) for key in _names_by_profile(flow.outputs)
    }
    count = len(flow.outputs)
    for number, (top, names) in enumerate(persons(stream).items()):
        flow.put(order(Identifier.parse(top), stream, number))
        flow.drain()
        addresses = set(_sent_addresses(flow.outputs[count:]))
        count = len(flow.outputs)
        assert addresses <= {(profile_of(top), name) for name in names}
        namespaces = {Identifier.parse(name).namespace for _, name in addresses}
        own_namespaces = {Identifier.parse(name).namespace for name in names}
        assert namespaces == own_namespaces & set(_ADDRESSES.values())


@settings(max_examples=cases(300), deadline=None)
@given(streams())
def test_no_message_goes_to_an_address_that_is_another_persons_at_that_moment(
    stream: list[Record],
) -> None:
    flow = Flow(mailing_rules())
    for number, event in enumerate(stream, 1):
        emits = list(flow.run(event))
        assert not flow.dead_letters
        owners = roots(stream[:number])
        for profile, address in _sent_addresses(emits):
            assert profile_of(owners[address]) == profile


def _step(flow: InterleavedFlow) -> bool:
    """Run a step, and check that no address is used that the profile's row gives to another
    person; return whether there was a record to process."""
    count = len(flow.outputs)
    is_processed = flow.step()
    for profile, address in _sent_addresses(flow.outputs[count:]):
        belonging = flow.rows["decisioning"][profile].belongings.get(address)
        assert belonging is None or belonging.here
    return is_processed


def _names_by_profile(emits: Iterable[Emit]) -> dict[str, set[str]]:
    """Return the identifiers that each profile's last snapshot names."""
    snapshots = {emit.key: emit.value for emit in emits if emit.topic == topics.PROFILES}
    return {
        key: set(profile.identifiers)
        for key, profile in snapshots.items()
        if isinstance(profile, Profile)
    }


def _sent_addresses(emits: Sequence[Emit]) -> Iterable[tuple[str, str]]:
    """Yield the profile and the addressed identifier of each action that has an address."""
    for emit in emits:
        if isinstance(emit.value, Action) and emit.value.address is not None:
            yield emit.key, f"{_ADDRESSES[emit.value.channel]}:{emit.value.address}"


class _SlowEmailFlow(InterleavedFlow):
    """Flow that holds back records for the row of one address, as while its partition's worker is
    down."""

    def __init__(self, address: str, world: Rules | None = None) -> None:
        super().__init__(world or offering_rules(), 1, lambda _: 0)
        self._address: str | None = address
        self._records: list[Emit] = []

    def release(self) -> None:
        """Deliver the records that were held back, and process everything."""
        self._address = None
        self.give("held back", self._records)
        self.drain()

    def _enqueue(self, source: object, emit: Emit) -> None:
        if emit.key == self._address:
            self._records.append(emit)
        else:
            super()._enqueue(source, emit)


def test_message_caused_by_silence_waits_for_an_address_that_was_shown_before() -> None:
    flow = _SlowEmailFlow("email:x@example.com")
    flow.put(_interaction("Ask", 1_000, "customer_id:A", "email:x@example.com"))
    flow.drain()
    flow.put(_interaction("Home", 70_000, "customer_id:A"))
    flow.drain()
    assert list(_sent_addresses(flow.outputs)) == []
    flow.release()
    actions = [emit.value for emit in flow.outputs if emit.topic == topics.actions("email")]
    assert [(record.offer, record.address) for record in actions if isinstance(record, Action)] == [
        ("question", "x@example.com")
    ]


@pytest.mark.parametrize("is_confirmed", [True, False])
def test_message_that_waits_for_its_address_counts_until_its_deadline(is_confirmed: bool) -> None:
    flow = _SlowEmailFlow("email:x@example.com", _rules_with_budget())
    flow.put(_interaction("Ask", 1_000, "customer_id:A", "email:x@example.com"))
    flow.drain()
    flow.put(_interaction("Home", 70_000, "customer_id:A"))
    flow.drain()
    if is_confirmed:
        flow.release()
    [contact] = _contacts(flow)
    deadline = contact.waits_until
    assert deadline is not None
    assert contact.until == (None if is_confirmed else deadline)
    assert contact.counts(deadline - 1)
    assert contact.counts(deadline) is is_confirmed
    [spend] = [
        spend
        for emit in flow.outputs
        if isinstance(emit.value, Decision)
        for spend in emit.value.spends
    ]
    assert spend.until is not None
    assert spend.until > deadline


def _contacts(flow: InterleavedFlow) -> list[Contact]:
    """Return the contacts of all customers."""
    rows = flow.rows["decisioning"].values()
    return [
        contact for row in rows for part in row.shards.here.values() for contact in part.contacts
    ]


def _rules_with_budget() -> Rules:
    """Return the offering rules with a budget, and a purse with money, for campaign `ask`."""
    base = offering_rules()
    campaigns = tuple(
        replace(campaign, budget=10.0) if campaign.campaign == "ask" else campaign
        for campaign in base.config.bundle.campaigns
    )
    compiled_rules = rules(replace(base.config.bundle, campaigns=campaigns))
    purse = Purse("campaign", 0, None, 1, 10 * TOKENS)
    return with_fields(compiled_rules, wallet={"ask": purse})


def _interaction(name: str, at_ms: int, *names: str) -> Interaction:
    return Interaction(
        event_id=f"{name}-{at_ms}",
        kind="track",
        name=name,
        channel="web",
        source="shop",
        occurred_at=at_ms,
        received_at=at_ms,
        identifiers=tuple(Identifier.parse(identifier) for identifier in names),
    )
