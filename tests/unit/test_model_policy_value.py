"""Value of the policy by a model, against a known truth, per slot with or without a message."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from dataclasses import replace as with_fields
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from msgspec.structs import replace

from pipeline.decisioning.model_manifest import PolicyEstimate
from pipeline.flow import Flow
from pipeline.insights.topic_files import DECISIONS, SEGMENTED
from pipeline.model.decision import Decision, SlotChances
from pipeline.model.interaction import DecideRequest, Identifier, Interaction
from pipeline.model.stages import Segmented
from pipeline.model.time import DAY_MS, HOUR_MS
from pipeline.rules import Rules
from pipeline.rules.knowledge import Knowledge, TreatmentEvidence
from pipeline.training.evaluation import policy_value
from pipeline.training.replayed_data import DrawnDecision, MessageGoal, open_replayed
from tests.support.deciding import campaign, hero, offer, world
from tests.support.replayed import write_topic

_START_MS: Final = 1_704_067_200_000
_GOAL: Final = MessageGoal("conversion", DAY_MS)
_VALUE: Final = 20.0
_PLAIN_RATE: Final = 0.01
_CUSTOMER_COUNT: Final = 800
_VISIT_COUNT: Final = 3

_Rates = Mapping[str, float]


@dataclass(frozen=True)
class DrawnWorld:
    """World in which gold customers react by `rates`, and others so seldom that no message pays.
    `best_worths`: true worth of each slot by the greedy choices for gold customers;
    `held_out_worths`: the same for gold customers who are held out of campaign `a`."""

    campaigns: tuple[dict[str, Any], ...]
    rates: _Rates
    best_worths: tuple[float, ...]
    held_out_worths: tuple[float, ...] = ()

    def rules(self) -> Rules:
        """Return rules that draw by wrong evidence, by which every message may pay."""
        weight = {"weight": "tier", "factor": 1, "when": {"trait": "tier", "is": "gold"}}
        compiled_rules = world(
            campaigns=list(self.campaigns),
            traits=["tier"],
            policies={"learning": {"ramp": 0, "explore": 0.1}, "weights": [weight]},
        )
        assert compiled_rules.chooser is not None
        evidence = {
            (candidate.tie, ""): TreatmentEvidence(30.0, 30 * candidate.cost / _VALUE, 30)
            for entries in (
                *compiled_rules.config.placement_entries.values(),
                compiled_rules.config.outbound_entries,
            )
            for entry in entries
            for candidate in entry.candidates
        }
        chooser = compiled_rules.chooser.with_knowledge(Knowledge("1-test", evidence))
        return with_fields(compiled_rules, chooser=chooser, with_chances=True)

    def rate(self, treatment: str, tier: object) -> float:
        """Return the true chance that a message reaches its goal."""
        return self.rates[treatment] if tier == "gold" else _PLAIN_RATE


def _campaign_with_goal(*offers: Mapping[str, Any], name: str, **parts: Any) -> dict[str, Any]:
    goal = {"when": {"name": "Bought"}, "window": "1d"}
    return campaign(name, *offers, goal=goal, **parts)


def _sale(name: str, *treatments: Mapping[str, Any]) -> dict[str, Any]:
    return offer(name, _VALUE, *treatments)


_PLACEMENT_WORLD: Final = DrawnWorld(
    (
        _campaign_with_goal(
            _sale("x", hero("x", p=0.1, cost=2)),
            _sale("y", hero("y", p=0.1, cost=2)),
            name="a",
            trigger={"name": "Never"},
        ),
    ),
    {"x": 0.15, "y": 0.3},
    best_worths=(0.3 * _VALUE - 2,),
)
_OUTBOUND_WORLD: Final = DrawnWorld(
    (
        _campaign_with_goal(
            _sale(
                "card",
                {"treatment": "card-email", "channel": "email", "p": 0.1, "cost": 1.5},
                {"treatment": "card-call", "channel": "call", "p": 0.2},
            ),
            name="a",
        ),
        _campaign_with_goal(
            _sale("loan", {"treatment": "loan-email", "channel": "email", "p": 0.1, "cost": 1.5}),
            name="b",
        ),
    ),
    {"card-email": 0.3, "card-call": 0.45, "loan-email": 0.2},
    # The call pays most; it takes its campaign, so the other one has the e-mail.
    best_worths=(0.45 * _VALUE - 4, 0.2 * _VALUE - 2),
)
_HOLDOUT_WORLD: Final = DrawnWorld(
    (
        _campaign_with_goal(
            _sale("x", hero("x", p=0.1, cost=2)), name="a", trigger={"name": "Never"}, holdout=0.3
        ),
        _campaign_with_goal(
            _sale("y", hero("y", p=0.1, cost=2)), name="b", trigger={"name": "Never"}
        ),
    ),
    {"x": 0.3, "y": 0.2},
    best_worths=(0.3 * _VALUE - 2,),
    held_out_worths=(0.2 * _VALUE - 2,),
)


@dataclass
class _Life:
    """Decisions and their outcomes in a world; `worths`: true worth of each slot by the policy that
    decided."""

    decisions: list[Decision]
    segmented: list[Segmented]
    worths: list[float]


def _yield_visits() -> Iterator[Interaction]:
    for number in range(_CUSTOMER_COUNT * _VISIT_COUNT):
        customer, visit_ms = number % _CUSTOMER_COUNT, _START_MS + number * 60_000
        yield Interaction(
            f"e{number}",
            "track",
            "Go",
            "web",
            "shop",
            visit_ms,
            visit_ms,
            (
                Identifier("customer_id", f"p{customer}"),
                Identifier("email", f"p{customer}@example.com"),
            ),
            properties={"tier": "gold" if customer % 2 else "plain"},
            request=DecideRequest(f"r{number}", "g", ("hero",), visit_ms + 100, {"hero": 1}),
        )


def _live(drawn_world: DrawnWorld) -> _Life:
    random, flow = np.random.default_rng(11), Flow(drawn_world.rules())
    life = _Life([], [], [])
    for visit in _yield_visits():
        values = [emit.value for emit in flow.run(visit)]
        [decision] = [value for value in values if isinstance(value, Decision)]
        [segmented] = [
            value
            for value in values
            if isinstance(value, Segmented) and value.interaction is not None
        ]
        life.decisions.append(decision)
        life.segmented.append(segmented)
        tier = visit.properties["tier"]
        [chances] = [value for value in values if isinstance(value, SlotChances)]
        costs = {candidate.treatment: candidate.cost for candidate in decision.candidates}
        for slot_chances in chances.slots.values():
            life.worths.append(
                sum(
                    chance * (drawn_world.rate(name, tier) * _VALUE - costs[name])
                    for name, chance in slot_chances.items()
                    if name
                )
            )
        for choice in decision.choices:
            if choice.treatment and random.random() < drawn_world.rate(choice.treatment, tier):
                life.segmented.append(_conversion(segmented, choice.action_id or ""))
    last_interaction = replace(
        visit, event_id="end", occurred_at=0, received_at=_START_MS + 60 * DAY_MS, request=None
    )
    life.segmented.append(replace(segmented, interaction=last_interaction))
    return life


def _conversion(segmented: Segmented, action_id: str) -> Segmented:
    assert segmented.interaction is not None
    outcome_ms = segmented.interaction.received_at + HOUR_MS
    outcome = replace(
        segmented.interaction,
        event_id=f"o-{action_id}",
        kind="outcome",
        name="conversion",
        occurred_at=outcome_ms,
        received_at=outcome_ms,
        properties={"action_id": action_id},
        request=None,
    )
    return replace(segmented, interaction=outcome)


def _true_value(drawn_world: DrawnWorld, decision: DrawnDecision, is_held_out: bool) -> float:
    """Return the true worth of the greedy choices of a decision, over all its slots."""
    if decision.facts.traits["tier"] != "gold":
        return 0.0
    return sum(drawn_world.held_out_worths if is_held_out else drawn_world.best_worths)


def _is_within(estimate: PolicyEstimate, truth: float) -> bool:
    assert estimate.low is not None
    assert estimate.high is not None
    assert estimate.high - estimate.low < 1.5
    return estimate.low < truth < estimate.high


@pytest.mark.parametrize(
    "drawn_world",
    [_PLACEMENT_WORLD, _OUTBOUND_WORLD, _HOLDOUT_WORLD],
    ids=["placement", "outbound", "held out"],
)
def test_value_per_slot_covers_the_truth_where_many_slots_are_best_left_empty(
    drawn_world: DrawnWorld, tmp_path: Path
) -> None:
    life = _live(drawn_world)
    write_topic(tmp_path, DECISIONS, life.decisions)
    write_topic(tmp_path, SEGMENTED, life.segmented)
    with open_replayed(tmp_path / SEGMENTED, tmp_path / DECISIONS) as replay:
        drawn_decisions = list(replay.drawn_decisions(_GOAL, 0))
    whole_estimate = policy_value(
        (decision, _true_chances(drawn_world, decision)) for decision in drawn_decisions
    )
    assert whole_estimate is not None
    assert (
        whole_estimate.n
        == sum(len(decision.slots) for decision in drawn_decisions)
        > _CUSTOMER_COUNT * _VISIT_COUNT * 0.9
    )
    silent_slot_count = sum(
        slot.choice is None for decision in drawn_decisions for slot in decision.slots
    )
    assert 0.2 < silent_slot_count / whole_estimate.n < 0.8
    held_out_profiles = {
        decision.profile_id
        for decision in life.decisions
        for holdout in decision.holdouts
        if holdout.held
    }
    assert bool(held_out_profiles) == bool(drawn_world.held_out_worths)
    truth = (
        sum(
            _true_value(drawn_world, decision, decision.profile_id in held_out_profiles)
            for decision in drawn_decisions
        )
        / whole_estimate.n
    )
    assert _is_within(whole_estimate.ran, float(np.mean(life.worths)))
    for estimate in (whole_estimate.ips, whole_estimate.snips, whole_estimate.dr):
        assert _is_within(estimate, truth)


def _true_chances(drawn_world: DrawnWorld, decision: DrawnDecision) -> Any:
    tier = decision.facts.traits["tier"]
    return np.array([drawn_world.rate(rival.treatment, tier) for rival in decision.rivals])


def test_log_without_draws_gives_no_value() -> None:
    no_decisions: list[tuple[DrawnDecision, Any]] = []
    assert policy_value(no_decisions) is None
