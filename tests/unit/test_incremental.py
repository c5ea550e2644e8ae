"""Incremental P: the probability that a message adds to that of reaching the goal anyway, by
holdouts."""

from collections import Counter
from dataclasses import replace as with_fields
from random import Random
from typing import Any, Final

import pytest
from msgspec.structs import replace

from pipeline.decisioning.explain import explain, run_again
from pipeline.decisioning.learning.counting import (
    Tally,
    posterior,
)
from pipeline.decisioning.step import step
from pipeline.flow import Flow
from pipeline.model.decision import Decision, Feedback
from pipeline.model.ids import withheld_id
from pipeline.model.interaction import DecideRequest, Interaction
from pipeline.model.learning import LearningRecord
from pipeline.model.outcome import Ok
from pipeline.model.stages import Segmented
from pipeline.model.time import DAY_MS
from pipeline.rules import Rules
from pipeline.rules.knowledge import baseline, knowledge_of
from pipeline.simulate.offers import FRIEND, LOAN
from pipeline.simulate.truth import effect, expected_conversion
from tests.support.deciding import ADA, Life, campaign, candidate, hero, offer, problems, world
from tests.support.learning import MemoryLearner, teach

_ROUND_COUNT: Final = 8_000
_ROUNDS_PER_SNAPSHOT: Final = 200
_CHANNELS: Final = {"loans": "call", "friends": "email"}
_OFFERS: Final = {"loans": LOAN, "friends": FRIEND}


def _goal(name: str) -> dict[str, Any]:
    return {"when": {"name": name}, "window": "3d"}


def _bank(is_incremental: bool) -> Rules:
    """Return rules with the bank's confounded loan, which many customers request without a message,
    and with an offer for bringing a friend; both have the same value."""
    campaigns = [
        campaign(
            name,
            offer(treatment.offer, 100, hero(name)),
            goal=_goal(treatment.goal),
            trigger={"name": "Never"},
            holdout=0.2,
            incremental=is_incremental,
        )
        for name, treatment in _OFFERS.items()
    ]
    learning = {"ramp": 0, "prior": 0.1, "prior_trials": 4}
    return world(campaigns=campaigns, policies={"learning": learning})


def _add_goals(decision: Decision, goal_ids: set[str]) -> Decision:
    """Return the decision as if the goals of the messages `goal_ids` had been reached at once."""
    goals = (
        Feedback(feedback.action_id, "reached", feedback.until)
        for feedback in decision.feedback
        if feedback.action_id in goal_ids
    )
    return replace(decision, feedback=(*decision.feedback, *goals))


def _record(rules: Rules) -> Segmented:
    request = DecideRequest("r", "g", ("hero",), 2_000, {"hero": 1})
    interaction = Interaction("e", "track", "Go", "web", "shop", 1_000, 1_000, ADA, request=request)
    emits = Flow(rules).run(interaction)
    return next(emit.value for emit in emits if isinstance(emit.value, Segmented))


def _learn(is_incremental: bool) -> tuple[Counter[str], LearningRecord]:
    """Return how often each campaign was shown in the last quarter of rounds, and the last
    snapshot."""
    learner, rules, random, shown_counts = (
        MemoryLearner(),
        _bank(is_incremental),
        Random(5),
        Counter[str](),
    )
    record = _record(rules)
    assert record.interaction is not None
    assert record.identity is not None
    for number in range(_ROUND_COUNT):
        own_record = replace(
            record,
            interaction=replace(record.interaction, event_id=f"e{number}"),
            identity=replace(record.identity, profile_id=f"p{number}"),
        )
        outcome = step(f"p{number}", own_record, None, rules)
        assert isinstance(outcome, Ok)
        decision = next(emit.value for emit in outcome.emits if isinstance(emit.value, Decision))
        [choice] = decision.choices
        goal_ids = set()
        for name, treatment in _OFFERS.items():
            channel = _CHANNELS[name] if choice.campaign == name else "nothing"
            if random.random() < expected_conversion(treatment, channel):
                goal_ids.add(choice.action_id if choice.campaign == name else "")
                goal_ids.add(withheld_id(decision.decision_id, "hero", name))
        learner.fold(_add_goals(decision, {goal for goal in goal_ids if goal}))
        if number % _ROUNDS_PER_SNAPSHOT == 0:
            rules = teach(rules, learner.publish())
        if number >= _ROUND_COUNT * 3 // 4:
            shown_counts[choice.campaign or "nothing"] += 1
    return shown_counts, learner.publish()


def test_incremental_learning_prefers_the_offer_with_an_effect() -> None:
    loan, friends = effect(LOAN, "call"), effect(FRIEND, "email")
    assert expected_conversion(LOAN, "call") > 1.4 * expected_conversion(FRIEND, "email")
    assert friends > 2 * loan
    effect_counts, snapshot = _learn(is_incremental=True)
    rate_counts, _ = _learn(is_incremental=False)
    assert effect_counts["friends"] > 0.7 * effect_counts.total()
    assert rate_counts["loans"] > 0.7 * rate_counts.total()
    gain = {
        name: (counts["loans"] * loan + counts["friends"] * friends) / counts.total()
        for name, counts in (("effect", effect_counts), ("rate", rate_counts))
    }
    assert gain["effect"] > 1.3 * gain["rate"]
    for name, treatment in _OFFERS.items():
        [baseline_evidence] = (
            evidence
            for evidence in snapshot.posteriors
            if (evidence.campaign, evidence.offer) == (name, "")
        )
        truth = expected_conversion(treatment, "nothing")
        sigma = (truth * (1 - truth) / baseline_evidence.tried) ** 0.5
        assert abs(baseline_evidence.reached / baseline_evidence.tried - truth) < 4 * sigma


def _rules_with_holdout(holdout: float = 0.999_999) -> Rules:
    sale = campaign(
        "sale",
        offer("shoes", 10, hero("shoes", p=0.4)),
        goal=_goal("Bought"),
        holdout=holdout,
        incremental=True,
    )
    return world(campaigns=[sale], policies={"learning": {"ramp": 0}})


def test_first_held_out_message_in_a_window_is_a_trial_and_its_goal_a_success() -> None:
    life = Life(_rules_with_holdout())
    first_decision = life.interact("Home", 1, ask=["hero"])
    assert first_decision.choices[0].would_be == "shoes"
    [trial] = first_decision.feedback
    assert (trial.what, trial.until) == ("tried", 1 + 3 * DAY_MS)
    assert not life.interact("Home", 2, ask=["hero"]).feedback
    purchase = life.interact("Bought", 5)
    assert [(feedback.action_id, feedback.what) for feedback in purchase.feedback] == [
        (trial.action_id, "reached")
    ]
    assert not life.interact("Bought", 1 + 3 * DAY_MS + 1).feedback
    second_decision = life.interact("Home", 2 + 3 * DAY_MS, ask=["hero"])
    assert [feedback.what for feedback in second_decision.feedback] == ["tried"]
    assert not any(contact.counts(10) for contact in second_decision.contacts)


def test_first_message_in_a_window_is_a_trial_whether_it_is_shown_or_not() -> None:
    life = Life(_rules_with_holdout(0.000_001))
    first_decision = life.interact("Home", 1, ask=["hero"])
    [action] = life.actions()
    assert [feedback.what for feedback in first_decision.feedback] == ["tried"]
    for outcome_ms, outcome in enumerate(("expired", "impression", "conversion"), 2):
        assert not life.react(action, outcome, outcome_ms).feedback
    second_decision = life.interact("Home", 10, ask=["hero"])
    assert second_decision.choices[0].treatment == "shoes"
    assert not second_decision.feedback
    purchase = life.interact("Bought", 20)
    messages = [contact.action_id for contact in purchase.contacts]
    assert [(evidence.action_id, evidence.what) for evidence in purchase.feedback] == [
        (message, "reached") for message in messages
    ]
    assert [contact.first for contact in purchase.contacts] == [True, False]
    third_decision = life.interact("Home", 2 + 3 * DAY_MS, ask=["hero"])
    assert [feedback.what for feedback in third_decision.feedback] == ["tried"]


def test_rate_without_a_message_is_learned_by_treatment() -> None:
    baselines = [
        posterior(("sale", "", name, ""), Tally(0, trials, successes, int(trials), int(successes)))
        for name, trials, successes in (("shoes", 980.0, 490.0), ("boots", 980.0, 10.0))
    ]
    knowledge = knowledge_of(LearningRecord(1, "d" * 64, 0, posteriors=tuple(baselines)))
    overall_rate = 500 / 1980
    base_rates = {
        name: knowledge.base_rate(("sale", name, name), "") for name in ("shoes", "boots", "hat")
    }
    assert base_rates == {
        "shoes": pytest.approx((490 + 20 * overall_rate) / 1000),
        "boots": pytest.approx((10 + 20 * overall_rate) / 1000),
        "hat": pytest.approx(overall_rate),
    }


def test_deduction_is_recorded_explained_and_run_again() -> None:
    rules = _rules_with_holdout(0.0001)
    baseline_evidence = posterior(("sale", "", "", ""), Tally(0, 80.0, 30.0, 80, 30))
    shoes = posterior(("sale", "shoes", "shoes", ""), Tally(0, 1000.0, 500.0, 1000, 500))
    assert rules.chooser is not None
    record = LearningRecord(3, "d" * 64, 0, posteriors=(baseline_evidence, shoes))
    chooser = rules.chooser.with_knowledge(knowledge_of(record))
    rules = with_fields(rules, chooser=chooser)
    life = Life(rules)
    decision = life.interact("Home", 1, ask=["hero"])
    shoe_candidate = candidate(decision, "shoes")
    assert shoe_candidate.anyway == baseline(80.0, 30.0) == 0.3
    assert shoe_candidate.p == pytest.approx(0.2, abs=0.08)
    assert shoe_candidate.score == pytest.approx(shoe_candidate.p * 10)
    [slot] = explain(decision, rules.config, "en").slots
    assert any("without it in 0.3" in con for con in slot.candidates[0].cons)
    segmented = next(emit.value for emit in life.emits if isinstance(emit.value, Segmented))
    assert run_again(decision, segmented, _rules_with_holdout(0.0001)) == decision


def test_campaign_without_anything_to_compare_with_is_named() -> None:
    parts = {"goal": _goal("Bought"), "incremental": True}
    found_problems = problems(
        campaigns=[
            campaign("a", offer("o", 1), **parts),
            campaign("b", offer("p", 1), incremental=True),
        ],
        policies={"learning": {}},
    )
    assert [path for path, _ in found_problems] == ["campaigns/0/incremental"] + [
        "campaigns/1/incremental"
    ] * 2
    assert "a `holdout`" in found_problems[0][1]
