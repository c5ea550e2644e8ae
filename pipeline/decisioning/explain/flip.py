"""Smallest change of one number that flips the choice of a slot."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from pipeline.decisioning.arbitrate import BEATEN_BY, NOTHING
from pipeline.decisioning.explain.phrases import Language, phrase
from pipeline.decisioning.explain.rules_in_words import constraint_of
from pipeline.model.decision import Candidate

_MARGIN: Final = 1e-6
"""Relative distance of a change from the break-even, at which the tie would be broken by names."""


class Flip(Struct, frozen=True):
    """Change of a number that flips a decision; `what`: the name of the number."""

    what: str
    start: float | str = msgspec.field(name="from")
    end: float | str = msgspec.field(name="to")


class _CandidateChange(Struct, frozen=True):
    """Number of a candidate and its new value; `size` is relative to the old one."""

    candidate: Candidate
    field: str
    start: float
    end: float

    @property
    def size(self) -> float:
        return abs(self.end - self.start) / max(abs(self.start), 0.01)


class SlotCandidates(Struct, frozen=True):
    """Candidates of a slot, those of all slots, and the shadow prices of budgets by campaign."""

    candidates: Sequence[Candidate]
    all_candidates: Sequence[Candidate]
    prices: Mapping[str, float]


def price_of(candidate: Candidate, prices: Mapping[str, float]) -> float:
    """Return the shadow price of each unit of a candidate's cost."""
    return 0.0 if "/" in candidate.slot else prices.get(candidate.campaign, 0.0)


def smallest_flip(
    slot_candidates: SlotCandidates, winner: Candidate | None, language: Language
) -> Flip | None:
    """Return the smallest change of a number that flips a slot; None: no single number does."""
    changes = [*_winning_changes(slot_candidates)]
    if winner is not None:
        rivals = [
            candidate.score
            for candidate in slot_candidates.all_candidates
            if _is_rival(candidate, winner)
        ]
        target = max([0.0, *rivals])
        changes += _score_changes(
            winner, price_of(winner, slot_candidates.prices), target, is_rise=False
        )
    if changes:
        smallest_change = min(changes, key=lambda change: change.size)
        message = phrase(
            language, f"{smallest_change.field} of", treatment=smallest_change.candidate.treatment
        )
        return Flip(message, smallest_change.start, smallest_change.end)
    for candidate in slot_candidates.candidates:
        if winner is None and candidate.score > 0 and constraint_of(candidate.fate) is not None:
            message = f"{candidate.fate}, {candidate.treatment}"
            return Flip(message, phrase(language, "in force"), phrase(language, "lifted"))
    return None


def _is_rival(candidate: Candidate, winner: Candidate) -> bool:
    """Return whether a candidate with a higher score would take the winner's place."""
    if candidate.fate.startswith(BEATEN_BY):
        return candidate.slot == winner.slot and candidate.fate == BEATEN_BY + winner.treatment
    is_same_placement = candidate.slot.partition("#")[0] == winner.slot.partition("#")[0]
    return is_same_placement and candidate.slot != winner.slot and candidate.score <= winner.score


def _winning_changes(slot_candidates: SlotCandidates) -> Iterator[_CandidateChange]:
    """Yield the changes that would make a beaten candidate win."""
    unbeaten_candidates = (
        candidate
        for candidate in slot_candidates.all_candidates
        if not candidate.fate.startswith(BEATEN_BY)
    )
    scores = {candidate.treatment: candidate.score for candidate in unbeaten_candidates}
    scores[NOTHING] = 0.0
    for candidate in slot_candidates.candidates:
        if candidate.fate.startswith(BEATEN_BY):
            target = scores.get(candidate.fate.removeprefix(BEATEN_BY))
            if target is not None:
                price = price_of(candidate, slot_candidates.prices)
                yield from _score_changes(candidate, price, max(target, 0.0), is_rise=True)


def _score_changes(
    candidate: Candidate, price: float, score: float, is_rise: bool
) -> Iterator[_CandidateChange]:
    """Yield the changes that bring a candidate just above (`is_rise`) or below a score.

    `price`: shadow price of each unit of its cost.
    """
    if candidate.weight <= 0:
        return
    worth = (score + price * candidate.cost) / candidate.weight
    if candidate.p > 0:
        yield _change_beyond(
            candidate, "value", candidate.value, (worth + candidate.cost) / candidate.p, is_rise
        )
    if candidate.value > 0:
        p = _change_beyond(
            candidate, "p", candidate.p, (worth + candidate.cost) / candidate.value, is_rise
        )
        if 0 <= p.end <= 1:
            yield p
    break_even = (candidate.p * candidate.value * candidate.weight - score) / (
        candidate.weight + price
    )
    cost = _change_beyond(candidate, "cost", candidate.cost, break_even, not is_rise)
    if cost.end >= 0:
        yield cost


def _change_beyond(
    candidate: Candidate, field: str, start: float, break_even: float, is_rise: bool
) -> _CandidateChange:
    """Return the change of `field` to just beyond `break_even`, in six digits.

    A score of 0 loses to `nothing`, so 0 is low enough for a value or a `p`.
    """
    if break_even == 0 and not is_rise and field != "cost":
        return _CandidateChange(candidate, field, start, 0.0)
    target = break_even + max(abs(break_even), 1e-3) * (_MARGIN if is_rise else -_MARGIN)
    digits = 6 - math.ceil(math.log10(max(abs(target), 1e-9)))
    factor = 10.0**digits
    end = (math.ceil if is_rise else math.floor)(target * factor) / factor
    return _CandidateChange(candidate, field, start, end)
