"""Holdouts are drawn once, by a fair hash; a held-out customer gets the best of the other messages,
and the message that is held out uses no cap."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.compiled import CompiledHoldout
from pipeline.decisioning.history import merge
from pipeline.decisioning.holdouts import is_held
from pipeline.decisioning.state import History
from pipeline.model.decision import Assignment, Contact, Decision
from pipeline.model.interaction import Identifier
from pipeline.rules import Rules
from tests.support.cases import cases
from tests.support.deciding import Life, campaign, fates, hero, offer, problems, world

_CAP = {"cap": "once", "per": "offer", "max": 1, "window": "1d"}


def _world(share: float, **scope: object) -> Rules:
    campaigns = [
        campaign("sales", offer("sale", 9, hero("sale-hero"), issue="sell")),
        campaign("care", offer("care", 1, hero("care-hero"), issue="help")),
        campaign("notice", offer("notice", 1), purpose="transactional"),
    ]
    holdouts = [{"holdout": "global", "share": share, "for": scope}]
    return world(campaigns=campaigns, policies={"holdouts": holdouts, "caps": [_CAP]})


def _customer(number: int, rules: Rules) -> Life:
    return Life(rules, (Identifier("customer_id", f"c{number}"),))


def _ask(life: Life, time_ms: int) -> Decision:
    return life.interact("Home", time_ms, ask=["hero"])


def test_share_of_customers_is_held_out() -> None:
    rules = _world(0.2)
    results = [
        bool(_ask(life, 0) and life.treatments())
        for life in (_customer(n, rules) for n in range(600))
    ]
    assert 0.15 < results.count(False) / len(results) < 0.25


def test_hash_draws_every_share_and_each_holdout_independently() -> None:
    people = [f"person-{n}" for n in range(10_000)]
    for share in (0.01, 0.3, 0.9):
        people_held_by_a, people_held_by_b = (
            {person for person in people if is_held(CompiledHoldout(name, share), person)}
            for name in ("a", "b")
        )
        for group in (people_held_by_a, people_held_by_b):
            assert abs(len(group) / len(people) - share) < 0.02
        assert abs(len(people_held_by_a & people_held_by_b) / len(people) - share * share) < 0.02


def _held_out_customer(rules: Rules) -> Life:
    return next(
        life
        for life in (_customer(n, rules) for n in range(1_000))
        if _ask(life, 0).choices[0].holdout is not None
    )


def test_held_out_customers_get_decisions_that_use_no_cap() -> None:
    life = _held_out_customer(_world(0.1))
    for time_ms in range(1, 4):
        decision = _ask(life, time_ms)
        [choice] = decision.choices
        assert (choice.action_id, choice.holdout, choice.would_be) == (None, "global", "sale-hero")
        assert fates(decision) == {
            "sale-hero": "held out by global",
            "care-hero": "beaten by sale-hero",
        }
        assert decision.holdouts == (Assignment("global", True, 0),)
        assert not decision.contacts
        assert not life.treatments()


def test_transactional_message_goes_to_a_held_out_customer() -> None:
    life = _held_out_customer(_world(0.1))
    decision = life.interact("Go", 5)
    assert life.treatments() == ["notice-email"]
    assert decision.choices[0].holdout is None


def test_holdout_of_an_issue_leaves_the_others_alone() -> None:
    rules = _world(0.5, issue="sell")
    for life in (_customer(n, rules) for n in range(20)):
        first_decision, second_decision = _ask(life, 0), _ask(life, 1)
        if first_decision.choices[0].holdout is None:
            assert life.treatments() == ["care-hero"]  # the cap of the sale is used up
        else:
            assert (
                first_decision.choices[0].would_be
                == second_decision.choices[0].would_be
                == "sale-hero"
            )
            assert first_decision.choices[0].treatment == "care-hero"
            assert fates(first_decision) == {
                "sale-hero": "held out by global",
                "care-hero": "chosen",
            }
            assert not life.treatments()  # the cap of care is used up


def test_campaign_has_its_own_holdout() -> None:
    campaigns = [campaign("sales", offer("sale", 9, hero("sale-hero")), holdout=0.5)]
    rules = world(campaigns=campaigns)
    holdouts = {_ask(_customer(n, rules), 0).choices[0].holdout for n in range(20)}
    assert holdouts == {None, "campaign/sales"}


_SLOTS = (("web", "hero"), ("web", "banner"), ("email", None), ("call", None))


class _DrawnOffer(NamedTuple):
    """Offer with its campaign's number, and its slots: channel and placement of each."""

    campaign_number: int
    value: int
    slots: list[tuple[str, str | None]]


class _HoldoutShares(NamedTuple):
    """Shares of customers that are held out of each of three campaigns, of e-mails, and of all
    messages."""

    campaigns: tuple[float, float, float]
    email: float
    everything: float


_offers = st.lists(
    st.builds(
        _DrawnOffer,
        st.integers(0, 2),
        st.integers(-1, 12),
        st.lists(st.sampled_from(_SLOTS), min_size=1, max_size=3, unique=True),
    ),
    min_size=1,
    max_size=6,
)
_held_share = st.sampled_from([0.0, 0.0, 0.999_999])
_holdouts = st.builds(
    _HoldoutShares, st.tuples(_held_share, _held_share, _held_share), _held_share, _held_share
)
_GOAL = {"when": {"name": "Bought"}, "window": "7d"}


def _make_rules(
    offers: list[_DrawnOffer],
    shares: tuple[float, float, float],
    policies: Mapping[str, Any],
    omitted_names: frozenset[str] = frozenset(),
) -> Rules:
    """Return the rules for the offers without the treatments in `omitted_names`."""
    never_event = {"name": "Never"}
    campaigns = [campaign("idle", offer("idle", 1), trigger=never_event, goal=_GOAL)]
    for number, share in enumerate(shares):
        offers_of_share = []
        for index, (campaign_number, value, slots) in enumerate(offers):
            treatments = [
                {"treatment": name, "channel": channel, "p": 0.5}
                | ({} if placement is None else {"placement": placement})
                for channel, placement in slots
                if (name := f"t{index}-{placement or channel}") not in omitted_names
            ]
            if campaign_number == number and treatments:
                offers_of_share.append(offer(f"o{index}", value, *treatments))
        if offers_of_share:
            campaigns.append(campaign(f"c{number}", *offers_of_share, holdout=share, goal=_GOAL))
    return world(campaigns=campaigns, policies=policies)


def _holdouts_of(
    offers: list[_DrawnOffer],
    shares: _HoldoutShares,
) -> tuple[list[dict[str, Any]], frozenset[str]]:
    """Return the holdouts of policies, and the treatments that these or the campaigns' holdouts
    hold out."""
    holdouts: list[dict[str, Any]] = [
        {"holdout": "mail", "share": shares.email, "for": {"channel": "email"}},
        {"holdout": "all", "share": shares.everything},
    ]
    covered_treatments = frozenset(
        f"t{index}-{placement or channel}"
        for index, (campaign_number, _, slots) in enumerate(offers)
        for channel, placement in slots
        if shares.campaigns[campaign_number]
        or (shares.email and channel == "email")
        or shares.everything
    )
    return [holdout for holdout in holdouts if holdout["share"]], covered_treatments


@settings(max_examples=cases(80), deadline=None)
@given(_offers, _holdouts, st.integers(1, 3), st.booleans(), st.booleans())
def test_slots_go_to_the_best_offers_outside_the_customers_holdouts(
    offers: list[_DrawnOffer],
    shares: _HoldoutShares,
    limit: int,
    is_capped: bool,
    is_learning: bool,
) -> None:
    """Compare choices with those by rules without the treatments that are held out, and would-be
    winners with choices by rules without holdouts."""
    policies: dict[str, Any] = {"learning": {"ramp": 0, "explore": 0.3}} if is_learning else {}
    policies["caps"] = [{"cap": "two", "per": "all", "max": 2, "window": "1d"}] if is_capped else []
    holdouts, covered_treatments = _holdouts_of(offers, shares)
    limits = {"hero": limit, "banner": 1}
    no_shares = (0.0, 0.0, 0.0)
    life = Life(_make_rules(offers, shares.campaigns, policies | {"holdouts": holdouts}))
    rest_life = Life(_make_rules(offers, no_shares, policies, covered_treatments))
    decision, rest_decision = (
        customer.interact("Go", 1, ask=limits) for customer in (life, rest_life)
    )
    free_decision = Life(_make_rules(offers, no_shares, policies)).interact("Go", 1, ask=limits)
    assert [(action.treatment, action.action_id) for action in life.actions()] == [
        (action.treatment, action.action_id) for action in rest_life.actions()
    ]
    shown_choices = {choice.slot: choice for choice in rest_decision.choices}
    winners = {choice.slot: choice.treatment for choice in free_decision.choices}
    for choice in decision.choices:
        shown_choice = shown_choices.get(choice.slot)
        assert choice.treatment == (None if shown_choice is None else shown_choice.treatment)
        assert choice.propensity == (1 if shown_choice is None else shown_choice.propensity)
        winner = winners.get(choice.slot)
        if winner in covered_treatments:
            assert choice.would_be == winner
    winners_held_out = {name for name in winners.values() if name in covered_treatments}
    held_out_names = {
        name for name, fate in fates(decision).items() if fate.startswith("held out by ")
    }
    assert winners_held_out <= held_out_names <= covered_treatments
    treatments = [
        (candidate.campaign, candidate.offer, candidate.treatment)
        for candidate in decision.candidates
    ]
    assert len(treatments) == len(set(treatments)) == len(free_decision.candidates)


def test_next_best_that_is_held_out_too_is_noted_for_both_holdouts() -> None:
    campaigns = [
        campaign("first", offer("first", 9, hero("first")), holdout=0.999_999),
        campaign("second", offer("second", 5, hero("second")), holdout=0.999_999),
        campaign("third", offer("third", 1, hero("third"))),
    ]
    decision = _ask(_customer(1, world(campaigns=campaigns)), 0)
    assert fates(decision) == {
        "first": "held out by campaign/first",
        "second": "held out by campaign/second",
        "third": "chosen",
    }
    [choice] = decision.choices
    assert (choice.holdout, choice.would_be) == ("campaign/first", "first")
    assert [holdout.held for holdout in decision.holdouts] == [True, True]


def test_holdout_is_drawn_only_when_a_message_would_be_sent() -> None:
    life = _customer(1, _world(0.5))
    decision = life.interact("Elsewhere", 0)
    assert not decision.holdouts
    assert _ask(life, 1).holdouts[0].at == 1


def test_draw_does_not_depend_on_the_share() -> None:
    life = _held_out_customer(_world(0.1))
    life.flow.rules = _world(0.000001)
    assert _ask(life, 9).choices[0].holdout == "global"


def test_two_draws_that_differ_are_flagged_after_a_merge_and_the_first_holds() -> None:
    rules = _world(0.5)
    for number in range(40):
        ada, cookie = (Identifier("customer_id", f"c{number}"),), (Identifier("cookie", "k"),)
        life = Life(rules)
        draws = []
        for time_ms, identifier in enumerate((cookie, ada)):
            draws.append(
                life.interact("Home", time_ms, identifiers=identifier, ask=["hero"])
                .holdouts[0]
                .held
            )
        life.interact("Login", 5, identifiers=(*ada, *cookie))
        [assignment] = life.interact("Home", 6, identifiers=ada, ask=["hero"]).holdouts
        assert (assignment.held, assignment.conflict) == (draws[0], draws[0] is not draws[1])


_assignments = st.dictionaries(
    st.sampled_from("ab"),
    st.builds(lambda is_held, drawn_at, conflict: Assignment("x", is_held, drawn_at, conflict),
              st.booleans(), st.integers(0, 2), st.booleans()),
)  # fmt: skip
_contacts = st.lists(
    st.builds(
        lambda number, status, clicked_at: Contact(
            f"a{number}",
            "c",
            "o",
            "t",
            "web",
            "marketing",
            number,
            status,
            outcomes={"click": (clicked_at,)},
        ),
        st.integers(0, 3),
        st.sampled_from(["reserved", "committed", "released"]),
        st.integers(0, 3),
    ),
    unique_by=lambda contact: contact.action_id,
)
_histories = st.builds(
    lambda contacts, suppressions, assignments: History(
        tuple(sorted(contacts, key=lambda contact: contact.at)), suppressions, assignments
    ),
    _contacts,
    st.dictionaries(st.sampled_from("ab"), st.integers(0, 3)),
    _assignments,
)


@settings(max_examples=cases(300))
@given(_histories, _histories, _histories)
def test_histories_merge_in_any_order_to_the_same(a: History, b: History, c: History) -> None:
    assert merge(a, b) == merge(b, a)
    assert merge(merge(a, b), c) == merge(a, merge(b, c))
    assert merge(a, a) == a
    assert merge(a, History()) == a


def test_holdout_of_transactional_messages_is_refused() -> None:
    holdout = {"holdout": "h", "share": 0.1, "for": {"purpose": "transactional"}}
    campaigns = [campaign("c", offer("o", 1), purpose="transactional", holdout=0.1)]
    found_problems = problems(campaigns=campaigns, policies={"holdouts": [holdout]})
    assert [path for path, _ in found_problems] == [
        "policies/holdouts/0/for/purpose",
        "campaigns/0/holdout",
    ]
