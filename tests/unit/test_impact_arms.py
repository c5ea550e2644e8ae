"""Impact tests: an arm leaves one factor out, always for the same customers, and records the
propensities of its choices."""

from collections import Counter
from math import sqrt
from typing import Any

import pytest

from pipeline.config.model import ImpactTests
from pipeline.decisioning.explain import explain, run_again
from pipeline.decisioning.impact import USUAL, arm_of
from pipeline.model.decision import Decision
from pipeline.model.ids import profile_id
from pipeline.model.interaction import Identifier
from pipeline.model.stages import Segmented
from pipeline.model.time import DAY_MS
from pipeline.rules import Rules
from tests.support.deciding import Life, campaign, hero, offer, problems, world

_IMPACT_TESTS: dict[str, Any] = {"share": 0.1}
_NO_CUSTOMER = {"property": "open", "is": True}
_GOAL = {"when": {"name": "Bought"}, "window": "7d"}
_OFFERS = (
    offer("worthy", 100, hero("worthy", p=0.1)),
    offer("likely", 1, hero("likely", p=0.9)),
    offer("raised", 5, hero("raised", p=0.2), levers={"pushed": 50}),
    offer("unfit", 600, hero("unfit", p=0.1), suitability=[{"rule": "fit", "when": _NO_CUSTOMER}]),
    offer(
        "banned", 9_000, hero("banned", p=0.1), eligibility=[{"rule": "may", "when": _NO_CUSTOMER}]
    ),
)
_BEST_TREATMENTS = {
    USUAL: "raised",
    "propensity": "likely",
    "no-levers": "worthy",
    "eligibility": "unfit",
}


def _rules(*offers: Any, **policies: Any) -> Rules:
    sale = campaign("sale", *(offers or _OFFERS), goal=_GOAL, trigger={"name": "Never"})
    return world(campaigns=[sale], policies={"impact_tests": _IMPACT_TESTS, **policies})


def _identifiers_in(arm: str) -> tuple[Identifier, ...]:
    """Return the only identifier of a customer who is in the arm."""
    tests = ImpactTests(0.1)
    names = (Identifier("customer_id", f"c{number}") for number in range(1_000))
    return (next(name for name in names if arm_of(tests, profile_id(name)) == arm),)


def _decide(rules: Rules, arm: str) -> tuple[Life, Decision]:
    life = Life(rules, _identifiers_in(arm))
    return life, life.interact("Seen", 0, ask=("hero",))


@pytest.mark.parametrize(("arm", "best_treatment"), _BEST_TREATMENTS.items())
def test_arm_chooses_the_best_treatment_without_its_factor(arm: str, best_treatment: str) -> None:
    _, decision = _decide(_rules(), arm)
    [choice] = decision.choices
    assert (decision.arm, choice.treatment, choice.propensity) == (arm, best_treatment, 1.0)


@pytest.mark.parametrize("arm", [*_BEST_TREATMENTS, "chance"])
@pytest.mark.parametrize("policies", [{}, {"learning": {"ramp": 0}}], ids=["fixed", "learned"])
def test_choices_are_as_frequent_as_their_propensity(arm: str, policies: dict[str, Any]) -> None:
    life = Life(_rules(**policies), _identifiers_in(arm))
    decision_count, counts_by_treatment, propensities = 500, Counter[str](), {}
    for number in range(decision_count):
        [choice] = life.interact("Seen", number * DAY_MS, ask=("hero",)).choices
        name = choice.treatment or "nothing"
        counts_by_treatment[name] += 1
        propensities[name] = choice.propensity
    for name, propensity in propensities.items():
        deviation = sqrt(decision_count * propensity * (1 - propensity)) + 0.5
        assert abs(counts_by_treatment[name] - decision_count * propensity) < 4.5 * deviation, (
            name,
            propensity,
        )
    # A rare choice may be absent from the sample.
    assert sum(propensities.values()) == pytest.approx(1, abs=0.03)
    assert "banned" not in propensities
    assert ("unfit" in propensities) == (arm == "eligibility")


@pytest.mark.parametrize("arm", [*_BEST_TREATMENTS, "chance"])
@pytest.mark.parametrize("policies", [{}, {"learning": {"ramp": 0}}], ids=["fixed", "learned"])
def test_repeated_decision_is_the_same_and_names_its_arm(
    arm: str, policies: dict[str, Any]
) -> None:
    life, decision = _decide(_rules(**policies), arm)
    records = (emit.value for emit in life.emits if isinstance(emit.value, Segmented))
    assert run_again(decision, next(records), life.flow.rules) == decision
    for language in ("en", "es"):
        explanation = explain(decision, life.flow.rules.config, language)
        assert (arm in explanation.words) == (arm != USUAL)


def test_transactional_messages_are_the_same_in_all_arms() -> None:
    suitability = {"suitability": [{"rule": "fit", "when": _NO_CUSTOMER}]}
    receipt = campaign(
        "receipt", offer("paid", 1), offer("unfit", 9, **suitability), purpose="transactional"
    )
    sale = campaign("sale", offer("sale", 5), offer("more", 4))
    rules = world(campaigns=[receipt, sale], policies={"impact_tests": _IMPACT_TESTS})
    for arm in (*_BEST_TREATMENTS, "chance"):
        life = Life(rules, _identifiers_in(arm))
        life.interact("Go", 0)
        assert "paid-email" in life.treatments()
        assert "unfit-email" not in life.treatments()


def test_outbound_messages_keep_their_triggers_and_caps() -> None:
    caps = [{"cap": "once", "per": "all", "max": 1, "window": "1d"}]
    sale, second_campaign = campaign("sale", offer("sale", 5)), campaign("other", offer("other", 4))
    rules = world(
        campaigns=[sale, second_campaign], policies={"impact_tests": _IMPACT_TESTS, "caps": caps}
    )
    for arm in (*_BEST_TREATMENTS, "chance"):
        life = Life(rules, _identifiers_in(arm))
        assert life.interact("Stay", 0).candidates == ()
        life.interact("Go", 1)
        assert len(life.treatments()) == 1
        life.interact("Go", 2)
        assert life.treatments() == []


def test_arms_have_their_shares_and_other_customers_are_in_the_usual_arm() -> None:
    tests = ImpactTests(0.05)
    counts_by_arm = Counter(
        arm_of(tests, profile_id(Identifier("customer_id", f"{number}")))
        for number in range(20_000)
    )
    for arm in tests.arms:
        assert abs(counts_by_arm[arm] - 1_000) < 4.5 * sqrt(1_000 * 0.95)
    assert counts_by_arm[USUAL] == 20_000 - sum(counts_by_arm[arm] for arm in tests.arms)
    assert arm_of(None, "p") is None


def test_repeated_arm_is_refused() -> None:
    [(path, message)] = problems(policies={"impact_tests": {"arms": ["chance", "chance"]}})
    assert path == "policies/impact_tests/arms/1"
    assert "occurs twice" in message
