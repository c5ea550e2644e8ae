"""A forgotten person is gone from every row of every stage; others keep all that is theirs.

The remaining state equals a replay of the stream without the person: without the interactions that
were part of the forgotten profile, and without its identifiers in those that others keep.
Interactions that a forgotten identifier sent on behalf of another person count as sent by its
parent of that time, and as received at the request to forget: they go to the person to whom that
parent belongs at the request.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline.flow import Flow
from pipeline.identity.record_factory import profile_of
from pipeline.model import topics
from pipeline.model.identity import IdentityChange
from pipeline.model.interaction import FactValue, Identifier, Interaction
from pipeline.model.outcome import Emit
from pipeline.model.profile import Profile
from pipeline.model.stages import Identified
from tests.support.cases import cases
from tests.support.identity_streams import Record, forget_request, unlink_request
from tests.support.persons import (
    interaction_at,
    interactions,
    mailing_rules,
    persons,
    roots,
    streams,
)

_FORGETTABLE = ["customer_id:A", "card:1", "email:x", "phone:7", "cookie:k"]

_PARTS_OF_OTHERS: list[Record] = [
    interaction_at(1, "card:1", "email:x"),
    interaction_at(2, "email:x"),
    interaction_at(3, "card:2", "email:x"),
]
"""The e-mail is forgotten with the second card's person; its shard with the first card stays."""

_PART_OF_A_SHARED_CARD: list[Record] = [
    interaction_at(1, "email:x"),
    interaction_at(2, "customer_id:A", "card:1"),
    interaction_at(3, "card:1", "email:x"),
    interaction_at(4, "customer_id:B", "email:x"),
]
"""The first customer's card adopts the e-mail's interactions, which stay when the card changes
hands."""

_PART_THAT_LEFT_WITH_A_CARD: list[Record] = [
    interaction_at(1, "customer_id:A", "card:1"),
    interaction_at(2, "card:1", "email:x"),
    interaction_at(3, "email:x"),
    interaction_at(4, "customer_id:C", "card:1"),
    interaction_at(5, "customer_id:B", "email:x"),
]
"""Interactions of an e-mail under a card, which belong to the card's second customer when the
e-mail is forgotten."""

_NAME_IN_A_PART_OF_OTHERS: list[Record] = [
    interaction_at(1, "card:1", "email:x"),
    interaction_at(2, "email:x", "phone:7"),
    interaction_at(3, "customer_id:A", "email:x"),
    interaction_at(4, "customer_id:B", "card:1"),
]
"""The second customer's card adopts the e-mail's interactions, which show the first one's phone."""

_NAME_IN_OTHERS_ROWS: list[Record] = [
    interaction_at(1, "customer_id:A", "email:x"),
    interaction_at(2, "customer_id:B", "email:x"),
]


@settings(max_examples=cases(300), deadline=None)
@example(_PARTS_OF_OTHERS, ["email:x"], 100)
@example(_NAME_IN_OTHERS_ROWS, ["email:x"], 100)
@example(_NAME_IN_A_PART_OF_OTHERS, ["customer_id:A"], 100)
@example(_NAME_IN_A_PART_OF_OTHERS, ["email:x", "phone:7"], 100)
@given(
    streams(),
    st.lists(st.sampled_from(_FORGETTABLE), min_size=1, max_size=2, unique=True),
    st.sampled_from([100, 2]),
)
def test_no_row_of_any_stage_has_an_identifier_of_a_forgotten_person(
    stream: list[Record], identifiers: list[str], max_identifiers: int
) -> None:
    flow = Flow(mailing_rules(max_identifiers))
    for record in stream:
        list(flow.run(record))
    last_ms = max(
        record.received_at if isinstance(record, Interaction) else record.at for record in stream
    )
    names: set[str] = set()
    for number, identifier in enumerate(identifiers, start=1):
        roots_by_name = {name: row.root for name, row in flow.rows["identity"].items()}
        root = roots_by_name.get(identifier)
        names |= {identifier} | {
            name for name, other_root in roots_by_name.items() if other_root == root
        }
        list(flow.run(forget_request(identifier, last_ms + number)))
        assert not flow.dead_letters
        for stage, rows in flow.rows.items():
            assert not _names_in(rows, names), stage
    for name in names:
        assert not any(profile_of(name) in rows for rows in flow.rows.values())


def _names_in(rows: Mapping[str, object], names: set[str]) -> set[str]:
    """Return the `names` that are in the bytes of any row, or of its key."""
    content = b"".join(key.encode() + msgspec.msgpack.encode(row) for key, row in rows.items())
    return {name for name in names if name.encode() in content}


class _FlowView:
    """Profiles that readers see of a stream, and the shard of each interaction."""

    def __init__(self, stream: Sequence[Record]) -> None:
        self.flow = Flow(mailing_rules())
        self.shards: dict[str, str] = {}
        self._profiles: dict[str, Profile | None] = {}
        for record in stream:
            self.feed(record)

    def feed(self, record: Record) -> None:
        for emit in self.flow.run(record):
            self._follow(emit)
        assert not self.flow.dead_letters

    def _follow(self, emit: Emit) -> None:
        if emit.topic == topics.PROFILES:
            assert emit.value is None or isinstance(emit.value, Profile)
            self._profiles[emit.key] = emit.value
        if isinstance(emit.value, Identified) and emit.value.interaction is not None:
            assert emit.value.identity is not None
            self.shards[emit.value.interaction.event_id] = emit.value.identity.shard

    def profiles(self) -> dict[str, dict[str, FactValue]]:
        """Return the identifiers and traits of each profile, without the latest identifier of a
        namespace: a forgotten part may have shown it."""
        return {
            key: {
                **{
                    name: trait_value
                    for name, trait_value in value.traits.items()
                    if "." not in name
                },
                "names": value.identifiers,
            }
            for key, value in self._profiles.items()
            if value is not None
        }

    def profiles_by_shard(self) -> dict[str, str]:
        """Return the profile that each shard is in."""
        return {
            shard: profile
            for profile, row in self.flow.rows["enrichment"].items()
            for shard in row.shards.here
        }

    def owner(self, name: str, shard: str) -> str | None:
        """Return the parent on whose behalf an identifier sent the interactions of a shard."""
        row = self.flow.rows["identity"][name]
        place = row.shards[shard]
        return next((claim.parent for claim in place.claims), next(iter(row.parents), None))


class _ForgottenStream(NamedTuple):
    """Records before and after a request to forget."""

    records_before: list[Record]
    records_after: list[Record]


@st.composite
def _streams(draw: st.DrawFn) -> _ForgottenStream:
    """Draw interactions before and after a request to forget; nothing is unlinked before the
    request."""
    records_before = draw(streams(maximum=12, with_unlinks=False))
    now_ms = (
        max(record.received_at for record in records_before if isinstance(record, Interaction)) + 10
    )
    records_after: list[Record] = []
    for number in range(draw(st.integers(1, 4))):
        now_ms += 200_000
        event = draw(interactions(100 + number, now_ms))
        customer = Identifier("customer_id", "C")
        weaker_names = (name for name in event.identifiers if name.namespace != "customer_id")
        records_after.append(replace(event, kind="track", identifiers=(customer, *weaker_names)))
    return _ForgottenStream(records_before, records_after)


@settings(max_examples=cases(300), deadline=None)
@example(
    _ForgottenStream(_PARTS_OF_OTHERS, [interaction_at(9, "customer_id:A", "card:1")]), "email:x"
)
@example(
    _ForgottenStream(_PART_OF_A_SHARED_CARD, [interaction_at(9, "customer_id:C", "card:1")]),
    "email:x",
)
@example(
    _ForgottenStream(_PART_THAT_LEFT_WITH_A_CARD, [interaction_at(9, "customer_id:A", "card:1")]),
    "email:x",
)
@given(_streams(), st.sampled_from(_FORGETTABLE))
def test_forgetting_leaves_other_profiles_complete(
    stream: _ForgottenStream, identifier: str
) -> None:
    records_before, records_after = stream
    view = _FlowView(records_before)
    names = _names_of_person(records_before, identifier)
    assume(not _has_forgotten_link_of_others(records_before, view, names))
    replay_view = _FlowView(_replayed_stream(records_before, view, names))
    last_ms = max(
        record.received_at for record in records_before if isinstance(record, Interaction)
    )
    view.feed(forget_request(identifier, last_ms + 1))
    assert view.profiles() == replay_view.profiles()
    for record in records_after:
        view.feed(record)
        replay_view.feed(record)
        assert view.profiles() == replay_view.profiles()


def _names_of_person(stream: Sequence[Record], identifier: str) -> set[str]:
    """Return the identifiers of the identifier's person; if it has none, the identifier alone."""
    return next((names for names in persons(stream).values() if identifier in names), {identifier})


def _has_forgotten_link_of_others(
    stream: Sequence[Record], view: _FlowView, names: set[str]
) -> bool:
    """Return whether a part of the forgotten profile showed a link between two identifiers that
    remain: the link stays, though a replay without that part lacks it."""
    return any(
        isinstance(record, Interaction)
        and record.identifiers[0].key not in names
        and any(name.key not in names for name in record.identifiers[1:])
        and view.profiles_by_shard()[view.shards[record.event_id]] in map(profile_of, names)
        for record in stream
    )


def _replayed_stream(stream: Sequence[Record], view: _FlowView, names: set[str]) -> list[Record]:
    """Return the stream without the forgotten person; interactions that its identifiers sent on
    behalf of others come last, as their parents'."""
    root = roots(stream).get(next(iter(names)))
    profiles_by_shard = view.profiles_by_shard()
    kept_records: list[Record] = []
    adoptions: list[Record] = []
    for record in stream:
        assert isinstance(record, Interaction)
        shard = view.shards[record.event_id]
        if root is not None and profiles_by_shard[shard] == profile_of(root):
            continue
        strongest_name, *weaker_names = record.identifiers
        if strongest_name.key in names:
            owner = view.owner(strongest_name.key, shard)
            assert owner is not None
            assert owner not in names
            adoptions.append(replace(record, identifiers=(Identifier.parse(owner),)))
            continue
        kept_names = (name for name in weaker_names if name.key not in names)
        kept_records.append(replace(record, identifiers=(strongest_name, *kept_names)))
    return [*kept_records, *adoptions]


@settings(max_examples=cases(100), deadline=None)
@given(streams(), interactions(99, 2 * 10**9))
def test_forgotten_person_who_returns_is_a_new_profile(
    stream: list[Record], visit: Interaction
) -> None:
    view = _FlowView(stream)
    for name in sorted(view.flow.rows["identity"]):
        view.feed(forget_request(name, 10**9 + 10**7))
    assert not any(view.flow.rows.values())
    view.feed(visit)
    assert view.profiles() == _FlowView([visit]).profiles()


def test_unlinked_identifiers_do_not_keep_the_names_of_the_forgotten() -> None:
    # Unlinking names that were never linked leaves a cut in both rows, until one is forgotten.
    view = _FlowView([interaction_at(1, "customer_id:A"), interaction_at(2, "email:x")])
    view.feed(unlink_request("customer_id:A", "email:x", 3 * 60_000))
    view.feed(IdentityChange("forget-x", "forget", "email:x", 4 * 60_000, ""))
    assert not view.flow.rows["identity"]["customer_id:A"].cuts
