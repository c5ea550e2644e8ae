"""Placements with a limit get the best offers in order, each once, within the caps."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.decisioning.explain import explain
from pipeline.intake.messages import DECIDE_DECODER, PlacementRequest
from tests.support.cases import cases
from tests.support.deciding import Life, campaign, fates, hero, offer, world

_values = st.lists(st.integers(-3, 9), min_size=1, max_size=9)


@settings(max_examples=cases(150), deadline=None)
@given(_values, st.integers(1, 6), st.integers(1, 6))
def test_best_paying_offers_come_in_order_and_fill_the_cap(
    values: list[int], limit: int, cap_max: int
) -> None:
    offers = [
        offer(f"o{n}", value, hero(f"t{n}"), hero(f"u{n}", cost=1))
        for n, value in enumerate(values)
    ]
    caps = [{"cap": "few", "per": "all", "max": cap_max, "window": "1d"}]
    life = Life(world(campaigns=[campaign("c", *offers)], policies={"caps": caps}))
    decision = life.interact("Home", 0, ask={"hero": limit, "banner": 1})
    paying_numbers = [n for n in range(len(values)) if values[n] > 0]
    best_numbers = sorted(paying_numbers, key=lambda n: (-values[n], f"o{n}"))[
        : min(limit, cap_max)
    ]
    expected = [f"t{n}" for n in best_numbers]
    assert life.answers() == {"hero": expected, "banner": []}
    slots = ["hero", *(f"hero#{place}" for place in range(2, limit + 1))]
    chosen_slots = [choice.slot for choice in decision.choices if choice.action_id is not None]
    assert chosen_slots == slots[: len(expected)]
    assert len({action.action_id for action in life.actions()}) == len(expected)


def test_explanation_covers_each_place() -> None:
    offers = [offer(f"o{n}", n + 1, hero(f"t{n}")) for n in range(4)]
    life = Life(world(campaigns=[campaign("c", *offers)]))
    decision = life.interact("Home", 0, ask={"hero": 2})
    first_slot, second_slot = explain(decision, life.flow.rules.config, "en").slots
    assert (first_slot.slot, second_slot.slot) == ("hero", "hero#2")
    assert first_slot.flip is not None
    assert (first_slot.flip.what, first_slot.flip.start) == ("p of t3", 1.0)
    assert 0.749 < float(first_slot.flip.end) < 0.75
    assert second_slot.flip is not None
    assert fates(decision)["t1"] == "beaten by t2"


@pytest.mark.parametrize(
    ("placement", "expected"),
    [(b'"hero"', "hero"), (b'{"placement": "hero", "limit": 5}', PlacementRequest("hero", 5))],
)
def test_both_forms_of_a_request_are_read(placement: bytes, expected: object) -> None:
    body = DECIDE_DECODER.decode(
        b'{"interaction": {"type": "page"}, "placements": [' + placement + b"]}"
    )
    assert body.placements == (expected,)
