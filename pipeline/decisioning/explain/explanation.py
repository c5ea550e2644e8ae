"""Decision explained: by slot, every candidate with its numbers, and what felled the others."""

from collections.abc import Iterator
from datetime import UTC, datetime

from msgspec import UNSET, Struct, UnsetType

from pipeline.config.compile import Configuration
from pipeline.decisioning.explain.contest import Contest
from pipeline.decisioning.explain.flip import Flip, price_of
from pipeline.decisioning.explain.phrases import Language, phrase
from pipeline.decisioning.explain.rules_in_words import FelledTreatment, RuleWords, constraint_of
from pipeline.decisioning.impact import PROPENSITY, USUAL
from pipeline.model.decision import Candidate, Choice, Decision


class ChosenTreatment(Struct, frozen=True):
    """Treatment that won a slot."""

    treatment: str
    offer: str
    campaign: str
    channel: str


class ExplainedCandidate(Struct, frozen=True):
    """Candidate as explained; `score` = (`p` × `value` − `cost`) × `weight`, less `price` × `cost`
    where its budget has a shadow price."""

    treatment: str
    channel: str
    p: float
    value: float
    cost: float
    weight: float
    score: float
    fate: str
    pros: tuple[str, ...]
    cons: tuple[str, ...]
    price: float | UnsetType = UNSET


class ExplainedSlot(Struct, frozen=True):
    """One slot; `holdout` and `would_be` are there where the customer is held out of what would
    have won."""

    slot: str
    chosen: ChosenTreatment | None
    propensity: float
    candidates: tuple[ExplainedCandidate, ...]
    rejected: tuple[FelledTreatment, ...]
    flip: Flip | None
    words: str
    holdout: str | UnsetType = UNSET
    would_be: str | UnsetType = UNSET


class Explanation(Struct, frozen=True):
    """Explanation of a decision; `same`: whether the decision, run again, was the same; where it
    was. `model`: the models that predicted, where any did; `arm`: that of the impact tests, where
    the customer is in one."""

    decision_id: str
    profile_id: str
    decided_at: int
    config: str
    snapshot: str | None
    slots: tuple[ExplainedSlot, ...]
    words: str
    same: bool | UnsetType = UNSET
    model: str | UnsetType = UNSET
    arm: str | UnsetType = UNSET


def explain(decision: Decision, config: Configuration, language: Language) -> Explanation:
    """Explain a decision by the configuration that it names."""
    rules = RuleWords.of(config.bundle, language)
    fallen = _felled_by_slot(decision, config, rules)
    choices = {one.slot: one for one in decision.choices}
    opened = tuple(choices)
    for slot in fallen:
        choices.setdefault(slot, Choice(slot, slot))
    slots = {
        slot: _slot(choice, decision, tuple(fallen.get(slot, ())), rules)
        for slot, choice in choices.items()
    }
    silent = "nothing asked" if decision.rejected or decision.candidates else "outcome"
    reasons = [slots[slot].words for slot in opened]
    arm = decision.arm if decision.arm not in (None, USUAL) else None
    if reasons and arm is not None:
        reasons.insert(0, phrase(language, f"arm {arm}"))
    reasons = [*_again(decision, language), *reasons, *_explain_deferred(decision, language)]
    return Explanation(
        decision_id=decision.decision_id,
        profile_id=decision.profile_id,
        decided_at=decision.decided_at,
        config=decision.config,
        snapshot=decision.snapshot,
        slots=tuple(slots.values()),
        words="\n".join(reasons) if reasons else phrase(language, silent),
        model=UNSET if decision.model is None else decision.model,
        arm=UNSET if arm is None else arm,
    )


def _again(decision: Decision, language: Language) -> Iterator[str]:
    if decision.again is not None:
        since = _moment(decision.again.since)
        yield phrase(language, "again", since=since, first=decision.again.first)


def _explain_deferred(decision: Decision, language: Language) -> Iterator[str]:
    for one in decision.deferred:
        yield phrase(
            language,
            "deferred",
            slot=one.channel,
            treatment=one.treatment,
            until=_moment(one.until),
            deadline=_moment(one.deadline_at),
        )


def _moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds")


def _felled_by_slot(
    decision: Decision, config: Configuration, rules: RuleWords
) -> dict[str, list[FelledTreatment]]:
    """Return the treatments that fell before arbitration, by the slot they competed for."""
    asked = {choice.slot for choice in decision.choices}
    where: dict[str, dict[str, None]] = {}
    for placement, entries in config.by_placement.items():
        if placement in asked:
            for name in (name for entry in entries for name in entry.treatments):
                where.setdefault(name, {})[placement] = None
    for one in (one for entry in config.outbound for one in entry.candidates):
        where.setdefault(one.treatment, {})[one.channel] = None
    fallen: dict[str, list[FelledTreatment]] = {}
    for label, names in decision.rejected.items():
        for name in dict.fromkeys(names):
            for slot in where.get(name.partition(": ")[0], ()):
                fallen.setdefault(slot, []).append(rules.felled_by_rule(name, label))
    return fallen


def _slot(
    choice: Choice,
    decision: Decision,
    fallen: tuple[FelledTreatment, ...],
    rules: RuleWords,
) -> ExplainedSlot:
    everywhere = decision.candidates
    candidates = [one for one in everywhere if one.slot == choice.slot]
    held_back = tuple(
        rules.felled_by_constraint(one.treatment, one.fate, kind)
        for one in candidates
        if (kind := constraint_of(one.fate)) is not None
    )
    winner = next((one for one in candidates if one.treatment == _treatment_of(choice)), None)
    contested = Contest(
        choice=choice,
        winner=winner,
        candidates=candidates,
        everywhere=everywhere,
        felled=(*held_back, *fallen),
        language=rules.language,
        prices={one.budget: one.price for one in decision.budgets if one.price > 0},
        p_alone=decision.arm == PROPENSITY,
    )
    flip = contested.flip()
    held = choice.holdout is not None
    return ExplainedSlot(
        slot=choice.slot,
        chosen=_chosen_treatment(choice),
        propensity=choice.propensity,
        candidates=tuple(_candidate(one, contested) for one in candidates),
        rejected=contested.felled,
        flip=flip,
        words=" ".join(contested.words(flip)),
        holdout=choice.holdout if choice.holdout is not None else UNSET,
        would_be=choice.would_be if held and choice.would_be is not None else UNSET,
    )


def _treatment_of(choice: Choice) -> str | None:
    return choice.treatment or choice.would_be


def _chosen_treatment(choice: Choice) -> ChosenTreatment | None:
    if choice.treatment is None or choice.offer is None or choice.campaign is None:
        return None
    return ChosenTreatment(choice.treatment, choice.offer, choice.campaign, choice.channel)


def _candidate(one: Candidate, contest: Contest) -> ExplainedCandidate:
    return ExplainedCandidate(
        treatment=one.treatment,
        channel=one.channel,
        p=one.p,
        value=one.value,
        cost=one.cost,
        weight=one.weight,
        score=one.score,
        fate=one.fate,
        pros=tuple(contest.pros(one)),
        cons=tuple(contest.cons(one)),
        price=price_of(one, contest.prices) or UNSET,
    )
