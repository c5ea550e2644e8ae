"""The best-paying treatment wins, chosen together with its offer and channel, and always the same
for the same input."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.model.decision import Decision
from tests.support.cases import cases
from tests.support.deciding import (
    Life,
    bundle,
    campaign,
    candidate,
    fates,
    hero,
    offer,
    problems,
    world,
)
from tests.support.worlds import rules

_COSTS = {"email": 0.5, "call": 4.0, "web": 0.0}


@dataclass(frozen=True)
class _TreatmentEntry:
    """Drawn treatment. Its numbers are exact in binary, so that ties are ties."""

    name: str
    campaign: str
    channel: str
    p: float
    value: float
    cost: float
    lever: float

    @property
    def score(self) -> float:
        return (self.p * self.value - self.cost - _COSTS[self.channel]) * self.lever

    def as_yaml(self) -> dict[str, Any]:
        treatment = {
            "treatment": self.name,
            "channel": self.channel,
            "p": self.p,
            "cost": self.cost,
            "levers": {"drawn": self.lever},
        }
        return offer(self.name, self.value, treatment)


_quarters = st.integers(0, 40).map(lambda n: n / 4)


@st.composite
def _entries(draw: st.DrawFn) -> list[_TreatmentEntry]:
    return [
        _TreatmentEntry(
            name=f"t{number}",
            campaign=draw(st.sampled_from("ABC")),
            channel=draw(st.sampled_from(["email", "call"])),
            p=draw(st.sampled_from([0.25, 0.5, 1.0])),
            value=draw(_quarters),
            cost=draw(st.sampled_from([0.0, 0.25, 1.0])),
            lever=draw(st.sampled_from([0.5, 1.0, 2.0])),
        )
        for number in range(draw(st.integers(1, 7)))
    ]


def _campaigns(entries: list[_TreatmentEntry]) -> list[dict[str, Any]]:
    names = dict.fromkeys(entry.campaign for entry in entries)
    return [
        campaign(name, *(entry.as_yaml() for entry in entries if entry.campaign == name))
        for name in names
    ]


@settings(max_examples=cases(200), deadline=None)
@given(_entries())
def test_best_paying_treatment_wins_its_campaign_and_channel(
    entries: list[_TreatmentEntry],
) -> None:
    life = Life(world(campaigns=_campaigns(entries)))
    decision = life.interact("Go", 0)
    expected: list[_TreatmentEntry] = []
    for entry in sorted(entries, key=lambda entry: (-entry.score, entry.campaign, entry.name)):
        is_free = all(entry.campaign != e.campaign and entry.channel != e.channel for e in expected)
        if is_free and entry.score > 0:
            expected.append(entry)
    assert life.treatments() == [entry.name for entry in expected]
    for entry in entries:
        record = candidate(decision, entry.name)
        assert record.score == entry.score
        assert record.score == (record.p * record.value - record.cost) * record.weight
        assert (record.fate == "chosen") is (entry in expected)


@settings(max_examples=cases(50), deadline=None)
@given(_entries(), st.randoms(use_true_random=False))
def test_order_of_the_configuration_changes_no_decision(
    entries: list[_TreatmentEntry], chance: Any
) -> None:
    shuffled_entries = list(entries)
    chance.shuffle(shuffled_entries)
    expected = []
    for order in (entries, shuffled_entries):
        life = Life(world(campaigns=_campaigns(order)))
        life.interact("Go", 0)
        expected.append(sorted(life.treatments()))
    assert expected[0] == expected[1]


_MAIL = {"treatment": "mail", "channel": "email", "p": 0.02, "cost": 0}
_CALL = {"treatment": "call", "channel": "call", "p": 0.06, "cost": 1}


def _decide_for(worth: float | None) -> tuple[list[str], Decision]:
    """Decide on an offer that pays 0.02 × `worth` − 0.5 by e-mail, 0.06 × `worth` − 5 by call;
    return the treatments sent, and the decision."""
    value = {"trait": "worth", "times": 1, "default": 0}
    life = Life(
        world(traits=("worth",), campaigns=[campaign("c", offer("o", value, _MAIL, _CALL))])
    )
    decision = life.interact("Go", 0, **({} if worth is None else {"worth": worth}))
    return life.treatments(), decision


@pytest.mark.parametrize(
    ("worth", "expected"),
    [(None, []), (24.9, []), (25.0, []), (25.1, ["mail"]), (112.4, ["mail"]), (112.6, ["call"])],
)
def test_channel_flips_at_the_break_even_worth(worth: float | None, expected: list[str]) -> None:
    # E-mail pays from 0.5 / 0.02 = 25 on, a call is better from (5 - 0.5) / 0.04 = 112.5 on.
    treatments, _ = _decide_for(worth)
    assert treatments == expected


def test_treatment_that_does_not_pay_is_not_sent() -> None:
    treatments, decision = _decide_for(10)
    assert not treatments
    assert set(fates(decision).values()) == {"beaten by nothing"}
    assert all(choice.action_id is None for choice in decision.choices)


def test_context_weight_and_a_score_of_the_profile_decide() -> None:
    weight = {
        "weight": "rainy",
        "factor": 3,
        "when": {"trait": "rain", "is": True},
        "for": {"offer": "umbrella"},
    }
    likelihood = {"trait": "likes", "default": 0.1}
    offers = (
        offer("umbrella", 4, hero("umbrella-hero")),
        offer("hat", 10, hero("hat-hero", p=likelihood)),
    )
    campaigns = [campaign("c", *offers)]
    life = Life(
        world(traits=("rain", "likes"), campaigns=campaigns, policies={"weights": [weight]})
    )
    life.interact("Home", 0, ask=["hero"])
    assert life.treatments() == ["umbrella-hero"]  # 4 against 1
    life.interact("Home", 1, ask=["hero"], likes=0.9)
    assert life.treatments() == ["hat-hero"]  # 4 against 9
    decision = life.interact("Home", 2, ask=["hero"], rain=True)
    assert life.treatments() == ["umbrella-hero"]  # 12 against 9
    assert candidate(decision, "umbrella-hero").weight == 3
    life.interact("Home", 3, ask=["hero"], likes=7)
    assert candidate(life.interact("Home", 4, ask=["hero"]), "hat-hero").p == 1


def test_transactional_messages_are_exempt_from_arbitration() -> None:
    campaigns = [
        campaign("sales", offer("sale", 100)),
        campaign("receipt", offer("receipt", 0), purpose="transactional"),
        campaign("code", offer("code", -5), purpose="transactional"),
    ]
    life = Life(world(campaigns=campaigns))
    decision = life.interact("Go", 0)
    assert sorted(life.treatments()) == ["code-email", "receipt-email", "sale-email"]
    assert {choice.slot for choice in decision.choices} == {"email", "email/code", "email/receipt"}
    assert len({action.action_id for action in life.actions()}) == 3


def test_transactional_messages_come_first_in_a_placement() -> None:
    campaigns = [
        campaign("sales", offer("sale", 100, hero("sale-hero"))),
        campaign("notice", offer("notice", 0, hero("notice-hero")), purpose="transactional"),
    ]
    life = Life(world(campaigns=campaigns))
    life.interact("Home", 0, ask=["hero"])
    assert life.treatments() == ["notice-hero"]


def test_treatment_has_its_own_value_and_dates() -> None:
    day = 24 * 3_600_000
    early_treatment = hero("early", value=9, ends="1970-01-01")
    late_treatment = hero("late", value=8, starts="1970-01-02")
    life = Life(
        world(
            campaigns=[
                campaign("c", offer("o", 1, early_treatment, late_treatment, hero("always")))
            ]
        )
    )
    for time_ms, expected in ((day - 1, "early"), (day, "late")):
        life.interact("Home", time_ms, ask=["hero"])
        assert life.treatments() == [expected]


class _LearnedPropensities:
    """Propensities of a learner, by treatment."""

    label = "learned@1"

    def __init__(self, chances: dict[str, float]) -> None:
        self.chances = chances

    def probabilities(self, candidates: Any, facts: Any) -> list[float | None]:
        return [self.chances.get(candidate.treatment) for candidate in candidates]


def test_learned_probability_replaces_the_declared_one() -> None:
    offers = (offer("a", 10, hero("a-hero", p=0.5)), offer("b", 10, hero("b-hero", p=0.4)))
    compiled_rules = world(campaigns=[campaign("c", *offers)])
    for learned_chances, expected in (
        ({}, "a-hero"),
        ({"a-hero": 0.1}, "b-hero"),
        ({"b-hero": 0.6}, "b-hero"),
    ):
        life = Life(replace(compiled_rules, propensities=_LearnedPropensities(learned_chances)))
        life.interact("Home", 0, ask=["hero"])
        assert life.treatments() == [expected]


@pytest.mark.parametrize(
    ("parts", "place", "words"),
    [
        ({"budget": {"amount": 5, "currency": "USD"}}, "budget/currency", "money is in EUR here"),
        ({"audience": {"trait": "worth", "gt": 5, "lt": 3}}, "audience", "contradict"),
        (
            {"audience": {"all": [{"segment": "s"}, {"not": {"segment": "s"}}]}},
            "audience",
            "contradict",
        ),
        (
            {"trigger": {"all": [{"name": "A"}, {"name": ["B", "C"]}]}},
            "trigger",
            "contradict",
        ),
        ({"starts": "2024-02-31"}, "starts", "is not a date"),
    ],
)
def test_invalid_campaign_is_refused_with_its_fault(
    parts: dict[str, Any], place: str, words: str
) -> None:
    base = bundle(traits=("worth",)).profile.traits
    profile = {
        "traits": [{"name": trait.name, "rule": trait.rule, "of": trait.of} for trait in base],
        "enrichers": {"currency": {"to": "EUR", "amounts": {"total": "properties.total"}}},
    }
    found_problems = problems(
        profile=profile,
        segments=[{"segment": "s", "when": {"trait": "sessions", "gte": 2}}],
        campaigns=[campaign("c", offer("o", 1), **parts)],
    )
    assert [(path, words in message) for path, message in found_problems] == [
        (f"campaigns/0/{place}", True)
    ]


def test_valid_budget_is_accepted() -> None:
    assert rules(bundle(campaigns=[campaign("c", offer("o", 1), budget=500)]))
    assert rules(bundle(campaigns=[campaign("c", offer("o", 1), budget={"amount": 500})]))
