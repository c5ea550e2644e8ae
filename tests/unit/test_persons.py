"""Owners of identifiers: devices of many customers, late interactions, and messages that wait for
the row of their address."""

from collections.abc import Iterable

from pipeline.decisioning.state import ContactState
from pipeline.flow import Flow
from pipeline.identity.record_factory import profile_of
from pipeline.model import topics
from pipeline.model.control import Control
from pipeline.model.decision import Action
from pipeline.model.interaction import Interaction
from pipeline.model.outcome import Emit
from pipeline.model.profile import Profile
from pipeline.model.stages import Identified, IdentitySection
from tests.support.identity_streams import MINUTE_MS, Record, unlink_request
from tests.support.persons import interaction_at, mailing_rules


def last_profiles(stream: Iterable[Record], max_identifiers: int = 100) -> dict[str, Profile]:
    """Return the last snapshot of each profile, by its root."""
    flow = Flow(mailing_rules(max_identifiers))
    last_values = {
        emit.key: emit.value
        for record in stream
        for emit in flow.run(record)
        if emit.topic == topics.PROFILES
    }
    assert not flow.dead_letters
    return {
        profile.root: profile for profile in last_values.values() if isinstance(profile, Profile)
    }


def counts(profiles: dict[str, Profile]) -> dict[str, object]:
    return {root: profile.traits["interactions"] for root, profile in profiles.items()}


def device_interactions(customer_count: int) -> list[Interaction]:
    """Return interactions of customers who log in on one device in turn; after each, the device has
    an interaction without a customer."""
    stream = []
    for number in range(customer_count):
        stream.append(interaction_at(2 * number + 1, f"customer_id:c{number}", "cookie:k"))
        stream.append(interaction_at(2 * number + 2, "cookie:k"))
    return stream


def unlinks(first_owner: int, last_owner: int, minute: int) -> list[Record]:
    return [
        unlink_request(f"customer_id:c{number}", "cookie:k", minute * MINUTE_MS)
        for number in range(first_owner, last_owner + 1)
    ]


def test_device_without_the_last_four_of_six_owners_belongs_to_the_second() -> None:
    counts_by_root = counts(last_profiles([*device_interactions(6), *unlinks(2, 5, 20)]))
    assert counts_by_root["customer_id:c0"] == 2
    assert counts_by_root["customer_id:c1"] == 2 + 4
    assert [counts_by_root[f"customer_id:c{number}"] for number in range(2, 6)] == [1] * 4


def test_device_without_its_last_99_owners_belongs_to_the_owner_before() -> None:
    counts_by_root = counts(last_profiles([*device_interactions(100), *unlinks(1, 99, 300)]))
    assert counts_by_root["customer_id:c0"] == 1 + 100
    assert counts_by_root["customer_id:c50"] == 1


def test_interactions_beyond_128_removed_owners_belong_to_the_first_owner() -> None:
    counts_by_root = counts(
        last_profiles([*device_interactions(140), *unlinks(5, 139, 400)], max_identifiers=200)
    )
    assert (counts_by_root["customer_id:c0"], counts_by_root["customer_id:c4"]) == (2 + 8, 2 + 127)
    assert sum(int(str(count)) for count in counts_by_root.values()) == 280


def test_hundred_and_first_owner_of_a_device_is_refused_and_not_named_with_it() -> None:
    profiles = last_profiles(device_interactions(101))
    assert profiles["customer_id:c99"].identifiers == ("cookie:k", "customer_id:c99")
    assert profiles["customer_id:c100"].identifiers == ("customer_id:c100",)


def test_late_interaction_of_a_device_belongs_to_its_present_owner() -> None:
    late_view = Interaction(
        "late",
        "track",
        "View",
        "web",
        "shop",
        2,
        400_000,
        interaction_at(1, "cookie:k").identifiers,
    )
    stream = [
        interaction_at(1, "customer_id:A", "cookie:k"),
        interaction_at(3, "customer_id:B", "cookie:k"),
        late_view,
    ]
    assert counts(last_profiles(stream)) == {"customer_id:A": 1, "customer_id:B": 2}


def test_unlink_older_than_the_evidence_removes_nothing() -> None:
    stream = [interaction_at(3, "customer_id:A", "cookie:k"), interaction_at(4, "cookie:k")]
    unlink = unlink_request("customer_id:A", "cookie:k", 2 * MINUTE_MS)
    assert counts(last_profiles([*stream, unlink])) == {"customer_id:A": 2}


class _Stages:
    """Stages after identity, whose records from identity the test makes."""

    def __init__(self) -> None:
        self.flow = Flow(mailing_rules())
        self.config = self.flow.rules.config.digest

    def send_order(self, customer: str, *addresses: str) -> list[Action]:
        order = interaction_at(10, customer, *addresses, name="Order")
        section = IdentitySection(
            profile_id=profile_of(customer),
            root=customer,
            shard=f"of-{customer}",
            version=0,
            config=self.config,
            own_version=0,
        )
        return self._run(Identified(interaction=order, identity=section), customer)

    def send_control(self, kind: str, customer: str, name: str, version: int) -> list[Action]:
        control = Control(
            control_id=f"{kind}-{name}-{version}",
            kind=kind,  # type: ignore[arg-type]
            at=10 * MINUTE_MS,
            cause="test",
            config=self.config,
            version=version,
            identifier=name,
            until=10 * MINUTE_MS,
        )
        return self._run(Identified(control=control), customer)

    def _run(self, record: Identified, customer: str) -> list[Action]:
        first_emit = Emit(topics.IDENTIFIED, profile_of(customer), record)
        emits = list(self.flow.follow(first_emit))
        return [emit.value for emit in emits if isinstance(emit.value, Action)]

    def contact_count(self, customer: str) -> int:
        row: ContactState = self.flow.rows["decisioning"][profile_of(customer)]
        return sum(len(part.contacts) for part in row.shards.here.values())


def test_message_waits_until_its_address_joins_the_customer() -> None:
    stages = _Stages()
    assert stages.send_order("customer_id:A", "email:x") == []
    [action] = stages.send_control("join", "customer_id:A", "email:x", 1)
    assert (action.address, action.profile_id) == ("x", profile_of("customer_id:A"))
    assert stages.send_control("join", "customer_id:A", "email:x", 1) == []
    assert stages.contact_count("customer_id:A") == 1


def test_message_to_an_address_of_another_person_is_neither_sent_nor_kept() -> None:
    stages = _Stages()
    assert stages.send_order("customer_id:A", "email:x") == []
    assert stages.send_control("leave", "customer_id:A", "email:x", -1) == []
    assert stages.contact_count("customer_id:A") == 0
    assert stages.send_control("join", "customer_id:A", "email:x", 3) == []


def test_higher_version_of_an_address_counts_in_any_order() -> None:
    for versions in ((1, 2), (2, 1)):
        stages = _Stages()
        for version in versions:
            kind = "join" if version == 1 else "leave"
            stages.send_control(kind, "customer_id:A", "email:x", version)
        stages.send_order("customer_id:A")
        assert stages.send_order("customer_id:A") == []
        assert stages.flow.rows["enrichment"][profile_of("customer_id:A")].belongings
