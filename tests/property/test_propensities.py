"""The logged propensity of every choice is the frequency with which the policy makes it."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace as with_fields
from itertools import islice
from math import sqrt
from typing import Any, Final

import pytest
from msgspec.structs import replace

from pipeline.decisioning.step import step
from pipeline.flow import Flow
from pipeline.model.decision import Choice, Decision
from pipeline.model.interaction import DecideRequest, Interaction
from pipeline.model.outcome import Ok
from pipeline.model.stages import Segmented
from pipeline.rules import Rules
from pipeline.rules.chooser import PricedCandidate
from pipeline.rules.knowledge import Knowledge, TreatmentEvidence
from tests.support.deciding import ADA, CHANNELS, campaign, fates, hero, offer, world

_DECISIONS: Final = 4000
_SIGMAS: Final = 4.5
_GOAL: Final = {"when": {"name": "Bought"}, "window": "7d"}
_NEVER_EVENT: Final = {"name": "Never"}
_TREATMENTS: Final = ("a", "b", "c", "d")


def _add_evidence(rules: Rules, **evidence: tuple[float, float, int]) -> Rules:
    """Return rules with the given trials, successes and messages of treatments as evidence."""
    entries = (*rules.config.outbound_entries, *sum(rules.config.placement_entries.values(), ()))
    ties = {
        candidate.treatment: candidate.tie for entry in entries for candidate in entry.candidates
    }
    evidence_by_treatment = {
        (ties[name], ""): TreatmentEvidence(*counts) for name, counts in evidence.items()
    }
    assert rules.chooser is not None
    return with_fields(
        rules, chooser=rules.chooser.with_knowledge(Knowledge("1-test", evidence_by_treatment))
    )


def _decisions(rules: Rules, limits: Mapping[str, int]) -> Iterator[Decision]:
    """Decide the same interaction many times, under different ids."""
    request = DecideRequest("r", "g", tuple(limits), 2_000, dict(limits)) if limits else None
    interaction = Interaction("e", "track", "Go", "web", "shop", 1_000, 1_000, ADA, request=request)
    emits = Flow(rules).run(interaction)
    record = next(emit.value for emit in emits if isinstance(emit.value, Segmented))
    for number in range(_DECISIONS):
        copy = replace(record, interaction=replace(interaction, event_id=f"e{number}"))
        outcome = step("p", copy, None, rules)
        assert isinstance(outcome, Ok)
        yield next(emit.value for emit in outcome.emits if isinstance(emit.value, Decision))


def _chosen_treatment(choice: Choice) -> str:
    return choice.treatment or "nothing"


def _earlier_winners(choice: Choice, decision: Decision) -> tuple[str, ...]:
    """Return the winners of the earlier places of the choice's placement."""
    placement, _, place = choice.slot.partition("#")
    earlier_places = range(1, int(place or 1))
    slots = {placement if number == 1 else f"{placement}#{number}" for number in earlier_places}
    return tuple(_chosen_treatment(choice) for choice in decision.choices if choice.slot in slots)


def _check_calibration(decisions: Sequence[Decision]) -> dict[str, set[str]]:
    """Check that each choice, given the earlier places, has one propensity and occurs as often;
    return the choices of each slot."""
    occasions: Counter[tuple[str, tuple[str, ...]]] = Counter()
    counts: Counter[tuple[str, tuple[str, ...], str]] = Counter()
    propensities: defaultdict[tuple[str, tuple[str, ...], str], set[float]] = defaultdict(set)
    for decision in decisions:
        for choice in decision.choices:
            occasion = choice.slot, _earlier_winners(choice, decision)
            occasions[occasion] += 1
            counts[(*occasion, _chosen_treatment(choice))] += 1
            propensities[(*occasion, _chosen_treatment(choice))].add(choice.propensity)
    choices_by_slot: defaultdict[str, set[str]] = defaultdict(set)
    for (slot, earlier_winners, winner), count in counts.items():
        [propensity] = propensities[slot, earlier_winners, winner]
        total = occasions[slot, earlier_winners]
        deviation = sqrt(total * propensity * (1 - propensity)) + 0.5
        assert abs(count - total * propensity) < _SIGMAS * deviation, (
            slot,
            winner,
            count,
            propensity,
        )
        assert propensity < 1
        choices_by_slot[slot].add(winner)
    return choices_by_slot


def _offers(*names: str, **parts: Any) -> list[dict[str, Any]]:
    return [offer(name, 10, hero(name, p=0.1, **parts)) for name in names]


def _hero_world(*offers: Mapping[str, Any], **learning: Any) -> Rules:
    return world(
        campaigns=[campaign("sale", *offers, goal=_GOAL, trigger=_NEVER_EVENT)],
        policies={"learning": learning},
    )


def test_propensities_hold_for_one_place() -> None:
    rules = _hero_world(*_offers("a", "b", "c"), ramp=0)
    rules = _add_evidence(rules, a=(80.0, 9.0, 80), b=(40.0, 5.0, 40))
    decisions = list(_decisions(rules, {"hero": 1}))
    assert _check_calibration(decisions) == {"hero": {"a", "b", "c", "nothing"}}
    propensities = {
        _chosen_treatment(decision.choices[0]): decision.choices[0].propensity
        for decision in decisions
    }
    assert sum(propensities.values()) == pytest.approx(1, abs=1e-4)


def test_propensities_hold_for_several_places() -> None:
    rules = _hero_world(*_offers("a", "b", "c", "d"), ramp=0, explore=0.1)
    rules = _add_evidence(rules, a=(80.0, 12.0, 80), b=(40.0, 5.0, 40))
    choices_by_slot = _check_calibration(list(_decisions(rules, {"hero": 3})))
    assert choices_by_slot["hero#2"] >= set(_TREATMENTS)
    assert choices_by_slot["hero#3"] >= set(_TREATMENTS)


def test_new_offers_ramp_up_and_others_have_a_fixed_score() -> None:
    plain_campaign = campaign("fixed", offer("plain", 0.9, hero("plain")), trigger=_NEVER_EVENT)
    sale = campaign("sale", *_offers("a", "b", cost=0.2), goal=_GOAL, trigger=_NEVER_EVENT)
    rules = world(campaigns=[sale, plain_campaign], policies={"learning": {"ramp": 100}})
    rules = _add_evidence(rules, a=(300.0, 33.0, 300), b=(20.0, 6.0, 20))
    decisions = list(_decisions(rules, {"hero": 1}))
    assert _check_calibration(decisions)["hero"] == {"a", "b", "plain", "nothing"}
    propensities = {
        _chosen_treatment(decision.choices[0]): decision.choices[0].propensity
        for decision in decisions
    }
    assert sum(propensities.values()) == pytest.approx(1, abs=1e-4)
    assert propensities["b"] < 0.22  # at most a fifth of choices, plus the share of exploration


def test_propensities_hold_among_many_candidates() -> None:
    # More candidates than the strongest rivals, which the chooser looks at first.
    names = [f"t{number:02}" for number in range(40)]
    offers = [offer(name, 8 + number / 8, hero(name, p=0.1)) for number, name in enumerate(names)]
    rules = _hero_world(*offers, ramp=60, explore=0.02)
    evidence = {name: (90.0, 5.0 + n % 9, 20 + 3 * n) for n, name in enumerate(names)}
    rules = _add_evidence(rules, **evidence)
    assert len(_check_calibration(list(_decisions(rules, {"hero": 1})))["hero"]) > 20
    pool = [
        PricedCandidate(candidate, candidate.worth)
        for entry in rules.config.placement_entries["hero"]
        for candidate in entry.candidates
        if candidate.worth is not None
    ]
    assert rules.chooser is not None
    field, indices = rules.chooser.field(pool, ""), range(len(names))
    chances = [field.chance(indices, candidate) for candidate in (*indices, None)]
    assert sum(chances) == pytest.approx(1, abs=1e-4)
    assert min(chances) > 0


def test_placement_without_candidates_is_never_filled() -> None:
    rules = _hero_world(*_offers("a"))
    for decision in islice(_decisions(rules, {"banner": 2}), 3):
        assert decision.choices[0] == Choice("banner", "web")


def _campaign(name: str, *channels: str, **parts: Any) -> dict[str, Any]:
    treatments = [
        {"treatment": f"{name}-{channel}", "channel": channel, "p": 0.2} for channel in channels
    ]
    return campaign(name, offer(name, 20, *treatments), goal=_GOAL, **parts)


_THREE_CHANNELS: Final = (*CHANNELS, {"name": "sms", "cost": 0.1})
_ONE_A_DAY: Final = {"cap": "one-a-day", "per": "all", "max": 1, "window": "1d"}


@pytest.mark.parametrize("caps", [[], [_ONE_A_DAY]], ids=["free", "capped"])
def test_propensities_hold_for_campaigns_that_share_channels(caps: list[Mapping[str, Any]]) -> None:
    rules = world(
        channels={"channels": list(_THREE_CHANNELS)},
        campaigns=[
            _campaign("first", "email", "sms", "call"),
            _campaign("second", "email", "sms", holdout=0.999),
            _campaign("third", "sms"),
        ],
        policies={"learning": {"ramp": 0}, "caps": caps},
    )
    rules = _add_evidence(rules, **{"first-email": (50.0, 9.0, 50), "second-sms": (60.0, 13.0, 60)})
    decisions = list(_decisions(rules, {}))
    choices_by_slot = _check_calibration(decisions)
    assert choices_by_slot["email"] == {"first-email", "nothing"}
    assert choices_by_slot["sms"] == {"first-sms", "third-sms", "nothing"}
    held_out_names = {choice.would_be for decision in decisions for choice in decision.choices}
    assert held_out_names == {"second-email", "second-sms", None}


def test_constraint_that_holds_a_message_back_is_its_fate() -> None:
    quiet_rule = {"quiet": "calls", "from": "00:00", "to": "23:59", "zone": "UTC"}
    rules = world(
        channels={"channels": list(_THREE_CHANNELS)},
        campaigns=[_campaign("first", "email", "call"), _campaign("second", "email")],
        policies={
            "learning": {"ramp": 0},
            "quiet_hours": [{**quiet_rule, "for": {"channel": "call"}}],
        },
    )
    winners: Counter[str] = Counter()
    for decision in islice(_decisions(rules, {}), 500):
        fates_by_name, choices = (
            fates(decision),
            {choice.slot: choice for choice in decision.choices},
        )
        assert fates_by_name["first-call"] == "quiet hours calls"
        assert choices["call"] == Choice("call", "call")
        winner = choices["email"].treatment
        winners[winner or "nothing"] += 1
        losers = {name for name, fate in fates_by_name.items() if fate.startswith("beaten by ")}
        assert losers == {"first-email", "second-email"} - {winner}
    assert min(winners["first-email"], winners["second-email"]) > 100


def test_treatment_that_cannot_be_rendered_frees_its_slot() -> None:
    huge_treatment = hero(
        "b", p=0.3, content={"text": "{{ properties.x | default('yy') }}" + "x" * 19_999}
    )
    rules = _hero_world(*_offers("a", "c"), offer("b", 10, huge_treatment), ramp=0)
    decisions = list(_decisions(rules, {"hero": 1}))
    fates = {candidate.treatment: candidate.fate for candidate in decisions[0].candidates}
    assert fates["b"].startswith("content")
    assert _check_calibration(decisions) == {"hero": {"a", "c", "nothing"}}
