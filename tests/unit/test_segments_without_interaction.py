"""Changes that time and merges cause in segments that read the interaction, or that have channels
of their own."""

from typing import Any, Final

import pytest

from pipeline.config import model
from pipeline.flow import Flow
from pipeline.identity.record_factory import profile_of
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.time import DAY_MS, HOUR_MS, MINUTE_MS
from tests.support.worlds import rules

_COOKIE: Final = Identifier("cookie", "k")
_CUSTOMER: Final = Identifier("customer_id", "A")
_CART_TOTAL: Final = {"property": "total", "gt": 100}

_HESITATION: Final = {
    "all": [
        {"trait": "last_cart_at", "older_than": "60m", "within": "7d"},
        {"not": {"trait": "last_purchase_at", "gte": {"trait": "last_cart_at"}}},
        {
            "any": [
                {
                    "sequence": [{"name": "catalog"}, {"name": "cart"}],
                    "within": "2h",
                    "without": {"name": "purchase"},
                },
                {"absence": {"name": "purchase"}, "after": {"name": "cart"}, "for": "4h"},
                _CART_TOTAL,
            ]
        },
    ]
}


def _flow(condition: dict[str, Any], channels: tuple[str, ...] = ()) -> Flow:
    def last_time(name: str) -> model.TraitDefinition:
        return model.TraitDefinition(
            f"last_{name}_at", "max", of="occurred_at", when={"name": name}
        )

    return Flow(
        rules(
            model.Bundle(
                sources=model.Sources((model.Source("shop", "web", "write-key-1"),)),
                identity=model.Identity(
                    (model.Namespace("customer_id"), model.Namespace("cookie"))
                ),
                channels=model.Channels((model.Channel("web"), model.Channel("pos"))),
                profile=model.ProfileRules(
                    (
                        last_time("cart"),
                        last_time("purchase"),
                        model.TraitDefinition("views", "count", when={"name": "View"}),
                    )
                ),
                segments=(model.Segment("s", condition, channels=channels),),
            )
        )
    )


def _interact(
    flow: Flow,
    name: str,
    time_ms: int,
    identifiers: tuple[Identifier, ...] = (_COOKIE,),
    channel: str = "web",
    **properties: int,
) -> None:
    interaction = Interaction(
        f"{name}{time_ms}",
        "track",
        name,
        channel,
        "shop",
        time_ms,
        time_ms,
        identifiers,
        {**properties},
    )
    for _ in flow.run(interaction):
        pass


def _check_membership(
    flow: Flow, now_ms: int | None = None, identifier: Identifier = _COOKIE
) -> bool:
    """Advance the flow to `now_ms`, and return whether the person is then a member."""
    for _ in flow.advance(now_ms or 0):
        pass
    row = flow.rows["segmentation"].get(profile_of(identifier.key))
    return row is not None and "s" in row.members


@pytest.mark.parametrize("channels", [(), ("web",)], ids=["any channel", "web"])
def test_time_changes_a_segment_if_its_known_parts_decide(
    channels: tuple[str, ...],
) -> None:
    # A cart without a catalogue: for the first hours the segment depends on its total alone.
    flow, cart_at = _flow(_HESITATION, channels), HOUR_MS
    _interact(flow, "cart", cart_at, total=20)
    assert not _check_membership(flow, cart_at + 4 * HOUR_MS - 1)
    assert _check_membership(flow, cart_at + 4 * HOUR_MS)
    assert _check_membership(flow, cart_at + 7 * DAY_MS - 1)
    assert not _check_membership(flow, cart_at + 7 * DAY_MS)


def test_sequence_enters_by_time_an_hour_after_the_cart() -> None:
    flow, cart_at = _flow(_HESITATION), HOUR_MS
    _interact(flow, "catalog", cart_at - 5 * MINUTE_MS)
    _interact(flow, "cart", cart_at, total=20)
    assert not _check_membership(flow, cart_at + HOUR_MS - 1)
    assert _check_membership(flow, cart_at + HOUR_MS)


def test_unknown_condition_keeps_the_membership() -> None:
    flow = _flow({"any": [_CART_TOTAL, {"trait": "views", "gte": 99}]})
    _interact(flow, "cart", 1, total=200)
    assert _check_membership(flow, 400 * DAY_MS)
    _interact(flow, "cart", 401 * DAY_MS, total=20)
    assert not _check_membership(flow, 800 * DAY_MS)


def test_merge_changes_a_segment_if_its_known_parts_decide() -> None:
    # Views of the cookie make the customer a member, though a merge has no interaction to read.
    unknown_flow = _flow(
        {"all": [{"trait": "views", "gte": 2}, {"not": {"property": "x", "is": 1}}]}
    )
    known_flow = _flow({"any": [{"trait": "views", "gte": 2}, _CART_TOTAL]})
    for flow in (unknown_flow, known_flow):
        _interact(flow, "View", 1)
        _interact(flow, "View", 2, (_CUSTOMER,))
        assert not _check_membership(flow, identifier=_CUSTOMER)
        _interact(flow, "Login", 3, (_CUSTOMER, _COOKIE), x=1, total=1)
    assert not _check_membership(unknown_flow, identifier=_CUSTOMER)
    assert _check_membership(known_flow, identifier=_CUSTOMER)


def test_time_and_merges_evaluate_a_segment_of_a_channel_and_other_channels_do_not() -> None:
    flow = _flow({"trait": "views", "gte": 2}, ("web",))
    _interact(flow, "View", 1)
    _interact(flow, "View", 2, channel="pos")
    assert not _check_membership(flow)
    _interact(flow, "Login", 3, (_CUSTOMER, _COOKIE), channel="pos")
    assert _check_membership(flow, identifier=_CUSTOMER)
    older_flow = _flow({"trait": "last_cart_at", "older_than": "1h"}, ("web",))
    _interact(older_flow, "cart", 1, channel="pos")
    assert _check_membership(older_flow, 1 + HOUR_MS)
