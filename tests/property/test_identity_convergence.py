"""Links give the persons of the definition, in whatever order Kafka delivers."""

from collections import Counter
from functools import partial

import networkx
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline.identity.record_factory import profile_of
from pipeline.model import topics
from pipeline.model.identity import IdentityChange
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.profile import Profile
from tests.support.cases import cases
from tests.support.identity_streams import Record, unlink_request
from tests.support.interleaving import InterleavedFlow
from tests.support.worlds import RANKS, plain_rules

_NAMES = [
    Identifier(namespace, value)
    for namespace, values in (("customer_id", "AB"), ("email", "xyz"), ("cookie", "klmno"))
    for value in values
]


@st.composite
def interactions(draw: st.DrawFn) -> Interaction:
    """Draw interactions with the identifiers in any spelling that people use."""
    names = draw(st.sets(st.sampled_from(_NAMES), min_size=1, max_size=3))
    identifiers = [replace(name, value=draw(spellings(name))) for name in names]
    time_ms = draw(st.integers(1, 40))
    kind = draw(st.sampled_from(["track", "track", "track", "alias"]))
    number = draw(st.integers(0, 10**9))
    return Interaction(
        f"e{number}", kind, "View", "web", "shop", time_ms, time_ms, tuple(identifiers)
    )


def spellings(name: Identifier) -> st.SearchStrategy[str]:
    plain_spellings = [name.value, name.value, f" {name.value}", f"{name.value} "]
    return st.sampled_from(
        [*plain_spellings, name.value.upper()] if name.namespace == "email" else plain_spellings
    )


@st.composite
def unlinks(draw: st.DrawFn) -> IdentityChange:
    name, other_name = draw(st.permutations(_NAMES))[:2]
    return unlink_request(name.key, other_name.key, draw(st.integers(1, 40)))


def parents(stream: list[Record]) -> dict[str, str]:
    """Return each identifier's parent by the definition: the strongest one of its latest evidence
    that is newer than the last cut of the link."""
    cuts: dict[frozenset[str | None], int] = {}
    for record in stream:
        if isinstance(record, IdentityChange):
            link = frozenset((record.identifier, record.other))
            cuts[link] = max(cuts.get(link, 0), record.at)
    evidence_by_name: dict[str, list[tuple[int, str, str, str]]] = {}
    for record in stream:
        if isinstance(record, IdentityChange):
            continue
        rule = "alias" if record.kind == "alias" else "together"
        strongest_name, *weaker_names = names_of(record)
        for name in weaker_names:
            is_linked = name.namespace != strongest_name.namespace or rule == "alias"
            if is_linked and record.occurred_at > cuts.get(
                frozenset((name.key, strongest_name.key)), 0
            ):
                evidence = (record.occurred_at, record.event_id, rule, strongest_name.key)
                evidence_by_name.setdefault(name.key, []).append(evidence)
    return {name: max(links)[-1] for name, links in evidence_by_name.items()}


def names_of(interaction: Interaction) -> list[Identifier]:
    """Return each identifier once in its normal form, the strongest first."""
    identifiers = {
        replace(identifier, value=identifier.value.strip())
        for identifier in interaction.identifiers
    }
    normal_forms = {
        replace(name, value=name.value.lower()) if name.namespace == "email" else name
        for name in identifiers
    }
    return sorted(
        normal_forms, key=lambda identifier: (RANKS[identifier.namespace], identifier.value)
    )


def roots(stream: list[Record]) -> dict[str, str]:
    """Return the root of each identifier's tree, found by networkx."""
    forest = networkx.DiGraph(parents(stream).items())
    arrivals = [record for record in stream if isinstance(record, Interaction)]
    forest.add_nodes_from(name.key for arrival in arrivals for name in names_of(arrival))
    assert networkx.is_directed_acyclic_graph(forest)
    roots_by_name = {}
    for tree in networkx.weakly_connected_components(forest):
        [root] = [name for name in tree if forest.out_degree(name) == 0]
        roots_by_name.update(dict.fromkeys(tree, root))
    return roots_by_name


@settings(max_examples=cases(300), deadline=None)
@given(st.lists(st.one_of(interactions(), interactions(), unlinks()), max_size=14), st.data())
def test_every_order_gives_the_persons_of_the_definition(
    drawn_stream: list[Record], data: st.DataObject
) -> None:
    stream = list(
        {str(getattr(event, "event_id", event)): event for event in drawn_stream}.values()
    )
    flow = InterleavedFlow(plain_rules(), data.draw(st.integers(1, 4)), _chooser(data))
    for event in data.draw(st.permutations(stream)):
        flow.put(event)
        for _ in range(data.draw(st.integers(0, 3))):
            flow.step()
        if data.draw(st.integers(0, 5)) == 0:
            flow.put(event)
    flow.drain()
    expected = roots(stream)
    roots_by_key = {key: row.root for key, row in flow.rows["identity"].items()}
    assert {key: roots_by_key.get(key, key) for key in expected} == expected
    assert not flow.dead_letters
    arrivals = [record for record in stream if isinstance(record, Interaction)]
    _check_places_of_shards(flow)
    _check_counts(flow, arrivals)


def _chooser(data: st.DataObject) -> partial[int]:
    return partial(_choose, data.draw(st.randoms(use_true_random=False)))


def _choose(random: object, n: int) -> int:
    return int(random.randrange(n))  # type: ignore[attr-defined]


def _check_places_of_shards(flow: InterleavedFlow) -> None:
    profiles_by_shard = {
        shard: profile_of(place.root)
        for row in flow.rows["identity"].values()
        for shard, place in row.shards.items()
    }
    holders = {
        shard: profile
        for profile, row in flow.rows["enrichment"].items()
        for shard in row.shards.here
    }
    assert holders == {shard: profiles_by_shard[shard] for shard in holders}
    assert set(holders) == set(profiles_by_shard)


def _check_counts(flow: InterleavedFlow, stream: list[Interaction]) -> None:
    snapshots: dict[str, Profile | None] = {}
    for emit in flow.outputs:
        if emit.topic == topics.PROFILES:
            assert emit.value is None or isinstance(emit.value, Profile)
            snapshots[emit.key] = emit.value
    live_profiles = [snapshot for snapshot in snapshots.values() if snapshot is not None]
    assert sum(int(str(profile.traits["interactions"])) for profile in live_profiles) == len(stream)
    decided_counts = Counter(
        emit.value.event_id  # type: ignore[union-attr]
        for emit in flow.outputs
        if emit.topic == topics.DECISIONS
    )
    assert decided_counts == Counter(record.event_id for record in stream)
