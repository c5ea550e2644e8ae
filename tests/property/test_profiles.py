"""Profiles are the same for any order of their interactions, over any shards."""

import itertools
from dataclasses import dataclass
from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from pipeline.enrichment.shard import apply, merge
from pipeline.enrichment.state import ProfileState, Shard
from pipeline.enrichment.view import shards_of, traits
from pipeline.model.belongings import Belonging
from pipeline.model.interaction import FactValue, Identifier, Interaction, Scalar
from pipeline.model.shards import Shards
from pipeline.rules import Rules
from tests.support.worlds import plain_rules

_GAP_MS = 30 * 60_000
_NOW_MS = 2 * 10**8
_RULES: Rules = plain_rules()


@dataclass(frozen=True)
class Visit:
    """Interaction and the shard that it belongs to."""

    shard: str
    interaction: Interaction


@st.composite
def visits(draw: st.DrawFn) -> list[Visit]:
    count = draw(st.integers(1, 12))
    return [
        Visit(draw(st.sampled_from("ab")), _interaction(draw, number)) for number in range(count)
    ]


def _interaction(draw: st.DrawFn, number: int) -> Interaction:
    occurred_at = draw(st.integers(0, 8)) * 20 * 60_000 + draw(st.integers(0, 2))
    name = draw(st.sampled_from(["Order", "View"]))
    total = draw(st.integers(0, 50))
    properties: dict[str, Scalar] = {"total": total, "page": f"p{draw(st.integers(0, 3))}"}
    identifier = Identifier("cookie", draw(st.sampled_from("kl")))
    return Interaction(
        f"e{number}", "track", name, "web", "shop", occurred_at, _NOW_MS, (identifier,), properties
    )


def _actual_traits(stream: list[Visit]) -> dict[str, FactValue]:
    shards: Shards[Shard] = Shards()
    for visit in stream:
        old_shard = shards.here.get(visit.shard)
        shards = shards.put(visit.shard, apply(old_shard, visit.interaction, _RULES.config))
    names = {record.interaction.identifiers[0].key for record in stream}
    belongings = {name: Belonging(0, True, _NOW_MS) for name in names}
    state = ProfileState("cookie:k", shards, belongings)
    return traits(shards_of(state), _NOW_MS, _RULES.config)


def _expected_traits(stream: list[Visit]) -> dict[str, FactValue]:
    """Return the traits by their definitions, from all interactions."""
    interactions = sorted(
        (record.interaction for record in stream), key=lambda i: (i.occurred_at, i.event_id)
    )
    times = [interaction.occurred_at for interaction in interactions]
    starts = [b for a, b in itertools.pairwise(times) if b - a > _GAP_MS]
    orders = [interaction for interaction in interactions if interaction.name == "Order"]
    expected: dict[str, FactValue] = {
        "first_seen": times[0],
        "last_seen": times[-1],
        "interactions": len(interactions),
        "sessions": 1 + len(starts),
        "session_started_at": [times[0], *starts][-1],
        "identifiers": len({interaction.identifiers[0] for interaction in interactions}),
        "last_page": interactions[-1].properties["page"],
    }
    latest_times = {
        interaction.identifiers[0]: interaction.occurred_at for interaction in interactions
    }
    expected["identifier.cookie"] = max(
        latest_times, key=lambda identifier: (latest_times[identifier], identifier.value)
    ).value
    if orders:
        expected["orders"] = len(orders)
        expected["spent"] = sum(int(str(order.properties["total"])) for order in orders)
    return expected


@given(visits(), st.randoms(use_true_random=False))
def test_any_order_gives_the_profile_of_first_principles(
    stream: list[Visit], random: st.DataObject
) -> None:
    shuffled_stream = list(stream)
    random.shuffle(shuffled_stream)  # type: ignore[attr-defined]
    assert _actual_traits(shuffled_stream) == _expected_traits(stream)


@given(visits())
def test_merging_shards_commutes_and_associates(stream: list[Visit]) -> None:
    config = _RULES.config
    parts = [apply(None, record.interaction, config) for record in stream]
    forward_merge = reduce(lambda a, b: merge(a, b, config), parts)
    backward_merge = reduce(lambda a, b: merge(b, a, config), reversed(parts))
    assert forward_merge == backward_merge
    assert reduce(lambda a, b: merge(b, a, config), parts) == forward_merge
