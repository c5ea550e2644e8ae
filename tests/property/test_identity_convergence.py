"""Whatever order Kafka delivers in, links end in the persons that their definition names."""

from collections import Counter
from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.identity.causes import profile_of
from pipeline.model import topics
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.profile import Profile
from tests.support.interleaving import InterleavedFlow
from tests.support.worlds import RANKS, plain_rules

_NAMES = [
    Identifier(namespace, value)
    for namespace, values in (("customer_id", "AB"), ("email", "xyz"), ("cookie", "klmno"))
    for value in values
]


@st.composite
def interactions(draw: st.DrawFn) -> Interaction:
    names = draw(st.sets(st.sampled_from(_NAMES), min_size=1, max_size=3))
    ranked = tuple(sorted(names, key=lambda one: (RANKS[one.namespace], one.value)))
    at = draw(st.integers(1, 40))
    kind = draw(st.sampled_from(["track", "track", "track", "alias"]))
    number = draw(st.integers(0, 10**9))
    return Interaction(f"e{number}", kind, "View", "web", "shop", at, at, ranked)


def roots(stream: list[Interaction]) -> dict[str, str]:
    """The definition: the parent is the strongest of the latest evidence, the root the last."""
    parents: dict[str, dict[str, tuple[int, str, str]]] = {}
    for one in stream:
        strongest, *weaker = one.identifiers
        for name in weaker:
            if name.namespace == strongest.namespace and one.kind != "alias":
                continue
            evidence = (
                one.occurred_at,
                one.event_id,
                "alias" if one.kind == "alias" else "together",
            )
            known = parents.setdefault(name.key, {})
            known[strongest.key] = max(known.get(strongest.key, evidence), evidence)

    def root(key: str) -> str:
        options = parents.get(key)
        return root(max(options, key=lambda p: (options[p], p))) if options else key

    return {name.key: root(name.key) for one in stream for name in one.identifiers}


@settings(max_examples=600, deadline=None)
@given(st.lists(interactions(), min_size=1, max_size=14), st.data())
def test_every_order_ends_in_the_persons_of_the_definition(
    stream: list[Interaction], data: st.DataObject
) -> None:
    stream = list({one.event_id: one for one in stream}.values())
    flow = InterleavedFlow(plain_rules(), data.draw(st.integers(1, 4)), _chooser(data))
    for one in data.draw(st.permutations(stream)):
        flow.put(one)
        for _ in range(data.draw(st.integers(0, 3))):
            flow.step()
        if data.draw(st.integers(0, 5)) == 0:
            flow.put(one)
    flow.drain()
    expected = roots(stream)
    found = {key: row.root for key, row in flow.rows["identity"].items()}
    assert {key: found.get(key, key) for key in expected} == expected
    assert not flow.refused
    _each_shard_is_where_identity_says(flow)
    _nothing_counted_twice_or_lost(flow, stream)


def _chooser(data: st.DataObject) -> partial[int]:
    return partial(_choose, data.draw(st.randoms(use_true_random=False)))


def _choose(random: object, n: int) -> int:
    return int(random.randrange(n))  # type: ignore[attr-defined]


def _each_shard_is_where_identity_says(flow: InterleavedFlow) -> None:
    placed = {
        shard: profile_of(place.root)
        for row in flow.rows["identity"].values()
        for shard, place in row.shards.items()
    }
    held = {
        shard: profile
        for profile, row in flow.rows["enrichment"].items()
        for shard in row.shards.here
    }
    assert held == {shard: placed[shard] for shard in held}
    assert set(held) == set(placed)


def _nothing_counted_twice_or_lost(flow: InterleavedFlow, stream: list[Interaction]) -> None:
    snapshots: dict[str, Profile | None] = {}
    for emit in flow.written:
        if emit.topic == topics.PROFILES:
            assert emit.value is None or isinstance(emit.value, Profile)
            snapshots[emit.key] = emit.value
    alive = [one for one in snapshots.values() if one is not None]
    assert sum(int(str(one.traits["interactions"])) for one in alive) == len(stream)
    decided = Counter(
        emit.value.event_id  # type: ignore[union-attr]
        for emit in flow.written
        if emit.topic == topics.DECISIONS
    )
    assert decided == Counter(one.event_id for one in stream)
