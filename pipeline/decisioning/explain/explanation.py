"""Explanation of a decision: by slot, every candidate with its numbers, and the rejecting rules."""

from collections.abc import Iterator
from datetime import UTC, datetime

from msgspec import UNSET, Struct, UnsetType

from pipeline.config.compile import Configuration
from pipeline.decisioning.explain.contest import Contest
from pipeline.decisioning.explain.flip import Flip, price_of
from pipeline.decisioning.explain.phrases import Language, phrase
from pipeline.decisioning.explain.rules_in_words import RejectedTreatment, RuleWords, constraint_of
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
    """Slot with its explanation; `holdout` and `would_be` are set where the customer is held out of
    the treatment that would have won."""

    slot: str
    chosen: ChosenTreatment | None
    propensity: float
    candidates: tuple[ExplainedCandidate, ...]
    rejected: tuple[RejectedTreatment, ...]
    flip: Flip | None
    words: str
    holdout: str | UnsetType = UNSET
    would_be: str | UnsetType = UNSET


class Explanation(Struct, frozen=True):
    """Explanation of a decision; `same`: whether a rerun gave the same decision, where there was
    one. `model`: the models that predicted, if any; `arm`: the customer's arm in impact tests, if
    any."""

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
    rejections = _rejections_by_slot(decision, config, rules)
    choices = {choice.slot: choice for choice in decision.choices}
    decided_slots = tuple(choices)
    for slot in rejections:
        choices.setdefault(slot, Choice(slot, slot))
    slots = {
        slot: _slot(choice, decision, tuple(rejections.get(slot, ())), rules)
        for slot, choice in choices.items()
    }
    empty_key = "nothing asked" if decision.rejected or decision.candidates else "outcome"
    reasons = [slots[slot].words for slot in decided_slots]
    arm = decision.arm if decision.arm not in (None, USUAL) else None
    if reasons and arm is not None:
        reasons.insert(0, phrase(language, f"arm {arm}"))
    reasons = [
        *_explain_second_decision(decision, language),
        *reasons,
        *_explain_deferred(decision, language),
    ]
    return Explanation(
        decision_id=decision.decision_id,
        profile_id=decision.profile_id,
        decided_at=decision.decided_at,
        config=decision.config,
        snapshot=decision.snapshot,
        slots=tuple(slots.values()),
        words="\n".join(reasons) if reasons else phrase(language, empty_key),
        model=UNSET if decision.model is None else decision.model,
        arm=UNSET if arm is None else arm,
    )


def _explain_second_decision(decision: Decision, language: Language) -> Iterator[str]:
    if decision.again is not None:
        since = _iso(decision.again.since)
        yield phrase(language, "again", since=since, first=decision.again.first)


def _explain_deferred(decision: Decision, language: Language) -> Iterator[str]:
    for message in decision.deferred:
        yield phrase(
            language,
            "deferred",
            slot=message.channel,
            treatment=message.treatment,
            until=_iso(message.until),
            deadline=_iso(message.deadline_at),
        )


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds")


def _rejections_by_slot(
    decision: Decision, config: Configuration, rules: RuleWords
) -> dict[str, list[RejectedTreatment]]:
    """Return the treatments rejected before arbitration, by the slot that they were meant for."""
    requested_slots = {choice.slot for choice in decision.choices}
    slots_by_treatment: dict[str, dict[str, None]] = {}
    for placement, entries in config.placement_entries.items():
        if placement in requested_slots:
            for name in (name for entry in entries for name in entry.treatments):
                slots_by_treatment.setdefault(name, {})[placement] = None
    for candidate in (
        candidate for entry in config.outbound_entries for candidate in entry.candidates
    ):
        slots_by_treatment.setdefault(candidate.treatment, {})[candidate.channel] = None
    rejections: dict[str, list[RejectedTreatment]] = {}
    for label, names in decision.rejected.items():
        for name in dict.fromkeys(names):
            for slot in slots_by_treatment.get(name.partition(": ")[0], ()):
                rejections.setdefault(slot, []).append(rules.rejection_by_rule(name, label))
    return rejections


def _slot(
    choice: Choice,
    decision: Decision,
    rejections: tuple[RejectedTreatment, ...],
    rules: RuleWords,
) -> ExplainedSlot:
    all_candidates = decision.candidates
    candidates = [candidate for candidate in all_candidates if candidate.slot == choice.slot]
    constrained_treatments = tuple(
        rules.rejection_by_constraint(candidate.treatment, candidate.fate, kind)
        for candidate in candidates
        if (kind := constraint_of(candidate.fate)) is not None
    )
    winner = next(
        (candidate for candidate in candidates if candidate.treatment == _treatment_of(choice)),
        None,
    )
    contest = Contest(
        choice=choice,
        winner=winner,
        candidates=candidates,
        all_candidates=all_candidates,
        rejections=(*constrained_treatments, *rejections),
        language=rules.language,
        prices={budget.budget: budget.price for budget in decision.budgets if budget.price > 0},
        p_alone=decision.arm == PROPENSITY,
    )
    flip = contest.flip()
    is_held_out = choice.holdout is not None
    return ExplainedSlot(
        slot=choice.slot,
        chosen=_chosen_treatment(choice),
        propensity=choice.propensity,
        candidates=tuple(_candidate(candidate, contest) for candidate in candidates),
        rejected=contest.rejections,
        flip=flip,
        words=" ".join(contest.words(flip)),
        holdout=choice.holdout if choice.holdout is not None else UNSET,
        would_be=choice.would_be if is_held_out and choice.would_be is not None else UNSET,
    )


def _treatment_of(choice: Choice) -> str | None:
    return choice.treatment or choice.would_be


def _chosen_treatment(choice: Choice) -> ChosenTreatment | None:
    if choice.treatment is None or choice.offer is None or choice.campaign is None:
        return None
    return ChosenTreatment(choice.treatment, choice.offer, choice.campaign, choice.channel)


def _candidate(candidate: Candidate, contest: Contest) -> ExplainedCandidate:
    return ExplainedCandidate(
        treatment=candidate.treatment,
        channel=candidate.channel,
        p=candidate.p,
        value=candidate.value,
        cost=candidate.cost,
        weight=candidate.weight,
        score=candidate.score,
        fate=candidate.fate,
        pros=tuple(contest.pros(candidate)),
        cons=tuple(contest.cons(candidate)),
        price=price_of(candidate, contest.prices) or UNSET,
    )
