"""Suppressions last exactly for their duration, also when profiles merge."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.model.interaction import Identifier
from pipeline.model.time import DAY_MS, MINUTE_MS, SECOND_MS
from tests.support.cases import cases
from tests.support.deciding import (
    ADA,
    Life,
    campaign,
    fates,
    find_rejecting_rules,
    hero,
    offer,
    world,
)

_OFFERS = (
    offer("gold", 9, hero("gold-hero"), issue="cards"),
    offer("house", 5, hero("house-hero"), issue="loans"),
)
_COMPLAINT = {"suppression": "complaint", "when": {"name": "Complaint"}, "duration": "5m"}
_CREDIT = {
    "suppression": "credit",
    "when": {"name": "Credit Check Failed"},
    "duration": "90d",
    "for": {"issue": "cards"},
}
_COOKIE = (Identifier("cookie", "k"),)


def _life(*suppressions: dict[str, object], **parts: object) -> Life:
    campaigns = [
        campaign("sales", *_OFFERS),
        campaign("receipt", offer("receipt", 1), purpose="transactional", trigger={"name": "Buy"}),
        campaign("help", offer("help", 1), purpose="service", trigger={"name": "Buy"}),
    ]
    return Life(world(campaigns=campaigns, policies={"suppressions": suppressions}, **parts))


@pytest.mark.parametrize(
    ("delay_ms", "is_silent"),
    [
        (0, True),
        (4 * MINUTE_MS + 59 * SECOND_MS, True),
        (5 * MINUTE_MS - 1, True),
        (5 * MINUTE_MS, False),
        (5 * MINUTE_MS + SECOND_MS, False),
    ],
)
def test_complaint_silences_sales_until_its_duration_is_over(
    delay_ms: int, is_silent: bool
) -> None:
    life = _life(_COMPLAINT)
    life.interact("Complaint", DAY_MS)
    decision = life.interact("Home", DAY_MS + delay_ms, ask=["hero"])
    assert life.treatments() == ([] if is_silent else ["gold-hero"])
    assert (fates(decision)["gold-hero"] == "suppression complaint") is is_silent


def test_complaint_silences_marketing_only() -> None:
    life = _life(_COMPLAINT)
    life.interact("Complaint", DAY_MS)
    life.interact("Buy", DAY_MS + 1, ask=["hero"])
    assert sorted(life.treatments()) == ["help-email", "receipt-email"]


def test_duration_counts_from_the_time_of_the_complaint() -> None:
    life = _life(_COMPLAINT)
    life.interact("Complaint", DAY_MS + 4 * MINUTE_MS, occurred_at=DAY_MS)
    life.interact("Home", DAY_MS + 5 * MINUTE_MS - 1, ask=["hero"])
    assert not life.treatments()
    life.interact("Home", DAY_MS + 5 * MINUTE_MS, ask=["hero"])
    assert life.treatments() == ["gold-hero"]


def test_interaction_that_starts_a_suppression_is_silenced() -> None:
    life = _life({**_COMPLAINT, "when": {"name": "Home"}})
    life.interact("Home", 0, ask=["hero"])
    assert not life.treatments()


def test_complaint_before_two_identities_merged_counts() -> None:
    life = _life(_COMPLAINT)
    life.interact("Complaint", DAY_MS, identifiers=ADA)
    life.interact("Home", DAY_MS + 1, identifiers=_COOKIE, ask=["hero"])
    assert life.treatments() == ["gold-hero"]
    life.interact("Login", DAY_MS + 2, identifiers=(*ADA, *_COOKIE))
    life.interact("Home", DAY_MS + 3, identifiers=_COOKIE, ask=["hero"])
    assert not life.treatments()


def test_failed_credit_check_silences_cards_for_ninety_days() -> None:
    life = _life(_CREDIT)
    life.interact("Credit Check Failed", 0)
    decision = life.interact("Home", 100, ask=["hero"])
    assert life.treatments() == ["house-hero"]
    assert fates(decision)["gold-hero"] == "suppression credit"
    life.interact("Home", 90 * DAY_MS - 1, ask=["hero"])
    assert life.treatments() == ["house-hero"]
    life.interact("Home", 90 * DAY_MS, ask=["hero"])
    assert life.treatments() == ["gold-hero"]


_minute_lists = st.lists(st.integers(0, 60), min_size=1, max_size=25)


@settings(max_examples=cases(150), deadline=None)
@given(_minute_lists, st.integers(1, 4), st.integers(1, 30), st.integers(1, 30), st.data())
def test_outcomes_silence_their_offer_as_by_brute_force(
    drawn_minutes: list[int], count: int, window: int, duration: int, data: st.DataObject
) -> None:
    life = _life(
        {
            "suppression": "tired",
            "outcome": "dismiss",
            "count": count,
            "within": f"{window}m",
            "duration": f"{duration}m",
        }
    )
    dismissals: dict[str, list[int]] = {"gold": [], "house": []}
    for minute in sorted(drawn_minutes):
        at_ms = minute * MINUTE_MS
        decision = life.interact("Home", at_ms, ask=["hero"])
        for name, minutes in dismissals.items():
            is_silent = _is_silent(minutes, count, window, duration, minute)
            assert (fates(decision)[f"{name}-hero"] == "suppression tired") is is_silent
        for action in life.actions():
            if data.draw(st.booleans()):
                life.react(action, "dismiss", at_ms)
                dismissals[action.offer].append(minute)


def _is_silent(
    dismissals: Sequence[int], count: int, window: int, duration: int, minute: int
) -> bool:
    """Return whether less than `duration` before `minute` there were `count` dismissals within
    `window`; all times are in minutes."""
    return any(
        sum(end - window < dismissal <= end for dismissal in dismissals) >= count
        and minute < end + duration
        for end in dismissals
    )


def test_dismissal_silences_other_offers_of_its_group() -> None:
    offers = (
        offer("a", 9, hero("a-hero"), group="g"),
        offer("b", 8, hero("b-hero"), group="g"),
        offer("c", 1, hero("c-hero")),
    )
    rule = {"suppression": "no", "outcome": "dismiss", "per": "group", "duration": "1d"}
    policies = {"suppressions": [rule]}
    life = Life(world(campaigns=[campaign("sales", *offers)], policies=policies))
    life.interact("Home", 0, ask=["hero"])
    life.react(life.actions()[0], "dismiss", 1)
    decision = life.interact("Home", 2, ask=["hero"])
    assert life.treatments() == ["c-hero"]
    assert fates(decision)["b-hero"] == "suppression no"
    assert not find_rejecting_rules(decision)
