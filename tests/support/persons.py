"""Small worlds of people who share cards, addresses and devices, with the owners by definition.

The oracle follows the definition: the latest evidence in a stream counts, unless a later removal of
its link voids it; then the latest of the remaining evidence counts.
"""

from collections.abc import Sequence
from functools import cache
from typing import Final

import networkx
from hypothesis import strategies as st

from pipeline.config import model
from pipeline.model.identity import IdentityChange
from pipeline.model.interaction import Identifier, Interaction
from pipeline.rules import Rules
from tests.support.identity_streams import Record, unlink_request
from tests.support.worlds import rules

_VALUES: Final = {
    "customer_id": "ABC",
    "card": "12",
    "email": "xy",
    "phone": "78",
    "cookie": "kl",
}
NAMES: Final = [
    Identifier(namespace, value) for namespace, values in _VALUES.items() for value in values
]
RANKS: Final = {namespace: rank for rank, namespace in enumerate(_VALUES)}
_BEGIN_MS: Final = 10**9
"""Time of the start of the streams (epoch ms)."""


@cache
def mailing_rules(max_identifiers: int = 100) -> Rules:
    """Return rules that confirm an order by e-mail and by SMS."""
    offers = (
        model.Offer("mail", 1.0, (model.Treatment("mail", "email", address="email"),)),
        model.Offer("text", 1.0, (model.Treatment("text", "sms", address="phone"),)),
    )
    return rules(
        model.Bundle(
            sources=model.Sources((model.Source("shop", "web", "write-key-1"),)),
            identity=model.Identity(
                tuple(model.Namespace(name) for name in _VALUES), max_identifiers=max_identifiers
            ),
            channels=model.Channels((model.Channel("email"), model.Channel("sms"))),
            profile=model.ProfileRules(
                (
                    model.TraitDefinition("orders", "count", when={"name": "Order"}),
                    model.TraitDefinition("spent", "sum", of="properties.total"),
                )
            ),
            segments=(
                model.Segment("buyers", {"trait": "orders", "gte": 1}),
                model.Segment("mailable", {"trait": "identifier.email", "exists": True}),
            ),
            campaigns=tuple(
                model.Campaign(offer.offer, (offer,), trigger={"name": "Order"}) for offer in offers
            ),
        )
    )


@st.composite
def interactions(draw: st.DrawFn, number: int, received_ms: int) -> Interaction:
    """Draw an interaction that occurred at its receipt or some time before, perhaps in the same
    millisecond as another."""
    names = draw(st.sets(st.sampled_from(NAMES), min_size=1, max_size=3))
    ago_ms = draw(st.sampled_from([0, 0, 0, 1, 2, 40, 100_000]))
    return Interaction(
        event_id=f"e{draw(st.integers(0, 9))}-{number}",
        kind=draw(st.sampled_from(["track", "track", "track", "track", "alias"])),
        name=draw(st.sampled_from(["View", "Order"])),
        channel="web",
        source="shop",
        occurred_at=received_ms - ago_ms,
        received_at=received_ms,
        identifiers=tuple(sorted(names, key=_rank)),
        properties={"total": draw(st.integers(0, 9))},
    )


@st.composite
def streams(draw: st.DrawFn, maximum: int = 16, with_unlinks: bool = True) -> list[Record]:
    """Draw a stream in the order of receipt, with some records at the same time; links are removed
    as of the receipt or an earlier moment."""
    now_ms = _BEGIN_MS
    stream: list[Record] = []
    for number in range(draw(st.integers(1, maximum))):
        now_ms += draw(st.sampled_from([0, 1, 2, 50_000]))
        if with_unlinks and draw(st.integers(0, 5)) == 0:
            name, other = draw(st.permutations(NAMES))[:2]
            ago_ms = draw(st.sampled_from([0, 0, 1, 2, 50_000]))
            stream.append(unlink_request(name.key, other.key, now_ms - ago_ms))
        else:
            stream.append(draw(interactions(number, now_ms)))
    return stream


def order(name: Identifier, stream: Sequence[Record], number: int = 0) -> Interaction:
    """Return an order by `name`, after all of the stream."""
    last = max(
        record.received_at if isinstance(record, Interaction) else record.at for record in stream
    )
    at = last + 1000 + number
    return Interaction(f"order-{number}", "track", "Order", "web", "shop", at, at, (name,))


def parents(stream: Sequence[Record]) -> dict[str, str]:
    """Return each identifier's parent: that of its latest evidence since the last removal of
    the link."""
    removals: dict[frozenset[str | None], int] = {}
    for record in stream:
        if isinstance(record, IdentityChange):
            ends = frozenset((record.identifier, record.other))
            removals[ends] = max(removals.get(ends, 0), record.at)
    evidence: dict[str, list[tuple[int, str, str]]] = {}
    for record in stream:
        if isinstance(record, IdentityChange):
            continue
        strongest, *weaker = sorted(record.identifiers, key=_rank)
        for name in weaker:
            is_linked = name.namespace != strongest.namespace or record.kind == "alias"
            if is_linked and record.occurred_at > removals.get(
                frozenset((name.key, strongest.key)), 0
            ):
                evidence.setdefault(name.key, []).append(
                    (record.occurred_at, record.event_id, strongest.key)
                )
    return {name: max(links)[-1] for name, links in evidence.items()}


def roots(stream: Sequence[Record]) -> dict[str, str]:
    """Return each identifier's root."""
    forest = networkx.DiGraph(parents(stream).items())
    arrivals = [record for record in stream if isinstance(record, Interaction)]
    forest.add_nodes_from(name.key for arrival in arrivals for name in arrival.identifiers)
    roots_by_name = {}
    for tree in networkx.weakly_connected_components(forest):
        [top] = [name for name in tree if forest.out_degree(name) == 0]
        roots_by_name.update(dict.fromkeys(tree, top))
    return roots_by_name


def persons(stream: Sequence[Record]) -> dict[str, set[str]]:
    """Return each root's identifiers."""
    names_by_root: dict[str, set[str]] = {}
    for name, top in roots(stream).items():
        names_by_root.setdefault(top, set()).add(name)
    return names_by_root


def _rank(name: Identifier) -> tuple[int, str]:
    return RANKS[name.namespace], name.value


def interaction_at(
    minute: int, *names: str, event: str | None = None, name: str = "View"
) -> Interaction:
    """Return an interaction of that minute, with the strongest name first."""
    ms = minute * 60_000
    identifiers = tuple(sorted(map(Identifier.parse, names), key=_rank))
    return Interaction(event or f"e{minute}", "track", name, "web", "shop", ms, ms, identifiers)
