"""Holdouts: a share of customers is excluded from some treatments, so that their effect is
measured.

A customer is drawn before the first such treatment, by a hash of the profile id at that time, and
the draw is kept. Held-out treatments compete all the same, so that the decision records the choice
without the holdout; the best of the rest is sent. So a holdout of everything measures the lift over
no message, and a holdout of some treatments the lift over the next best.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from pipeline.config.compiled import CompiledCandidate, CompiledHoldout
from pipeline.decisioning.arbitrate import Arbitration
from pipeline.decisioning.lineup import Lineup
from pipeline.model.decision import HELD_OUT_BY, Assignment, Candidate, Choice

_RANGE: Final = 2**64

SlotFiller: TypeAlias = Callable[[Sequence[Lineup]], Arbitration]
"""Function that fills the slots from lineups."""

_TreatmentKey: TypeAlias = tuple[str, str, str]


@dataclass(slots=True)
class HoldoutDraws:
    """Holdouts of a customer: `former_draws` from before, and `new_draws` by this decision."""

    profile_id: str
    now_ms: int
    former_draws: Mapping[str, Assignment]
    new_draws: dict[str, Assignment] = field(default_factory=dict)

    def holdouts_of(self, candidate: CompiledCandidate) -> tuple[str, ...]:
        """Return the holdouts that exclude the customer from `candidate`, drawn if need be;
        transactional messages have none."""
        if candidate.transactional or not candidate.holdouts:
            return ()
        return tuple(
            holdout.name for holdout in candidate.holdouts if self._assignment(holdout).held
        )

    def expose(self, candidate: CompiledCandidate) -> None:
        """Draw the holdouts of a candidate, and keep the draws."""
        if candidate.transactional:
            return
        for holdout in candidate.holdouts:
            if holdout.name not in self.former_draws:
                self.new_draws[holdout.name] = self._assignment(holdout)

    def _assignment(self, rule: CompiledHoldout) -> Assignment:
        assignment = self.former_draws.get(rule.name)
        if assignment is not None:
            return assignment
        return Assignment(rule.name, is_held(rule, self.profile_id), self.now_ms)


def is_held(rule: CompiledHoldout, profile_id: str) -> bool:
    """Return whether the customer's draw in [0, 1), a hash of the profile id, is below the
    share."""
    digest = hashlib.sha256(f"{rule.name}/{profile_id}".encode()).digest()
    return int.from_bytes(digest[:8]) < rule.share * _RANGE


class FilledSlots(Struct, frozen=True):
    """Filled slots: the arbitration, and the `choices` and `candidates` for the Decision."""

    arbitration: Arbitration
    choices: tuple[Choice, ...]
    candidates: tuple[Candidate, ...]


def fill_slots(lineups: Sequence[Lineup], fill: SlotFiller, draws: HoldoutDraws) -> FilledSlots:
    """Fill the slots of a decision with treatments that the customer is not held out of.

    A contest between all candidates finds the winners without holdouts. While a winner is held out,
    the candidates of its holdout are removed and the others compete again: the next winner may be
    held out by another holdout, and both are recorded.
    """
    names_by_treatment = {
        contender.candidate.tie: names
        for lineup in lineups
        for contender in lineup.contenders
        if (names := draws.holdouts_of(contender.candidate))
    }
    open_contest = arbitration = fill(lineups)
    if not names_by_treatment:
        _expose(arbitration, draws)
        return FilledSlots(arbitration, tuple(arbitration.choices), tuple(arbitration.candidates))
    withheld_winners = _WithheldWinners()
    holdouts: set[str] = set()
    while new_holdouts := withheld_winners.note(arbitration, names_by_treatment, draws):
        holdouts |= new_holdouts
        arbitration = fill(_exclude(lineups, names_by_treatment, holdouts))
    all_names = {name for names in names_by_treatment.values() for name in names}
    if any(holdouts.isdisjoint(names) for names in names_by_treatment.values()):
        arbitration = fill(_exclude(lineups, names_by_treatment, all_names))
    _expose(arbitration, draws)
    return FilledSlots(
        arbitration,
        withheld_winners.choices(arbitration),
        withheld_winners.candidates(open_contest, arbitration, names_by_treatment),
    )


def _expose(arbitration: Arbitration, draws: HoldoutDraws) -> None:
    for win in arbitration.wins:
        draws.expose(win.candidate)


def _exclude(
    lineups: Sequence[Lineup],
    names_by_treatment: Mapping[_TreatmentKey, Sequence[str]],
    holdouts: set[str],
) -> tuple[Lineup, ...]:
    """Return the lineups without the candidates of `holdouts`."""
    return tuple(
        replace(
            lineup,
            contenders=[
                contender
                for contender in lineup.contenders
                if holdouts.isdisjoint(names_by_treatment.get(contender.candidate.tie, ()))
            ],
        )
        for lineup in lineups
    )


@dataclass(slots=True)
class _WithheldWinners:
    """Held-out winners. `slots`: the first of each slot, as a choice; `notes`: all, as
    candidates."""

    slots: dict[str, Choice] = field(default_factory=dict)
    notes: dict[_TreatmentKey, Candidate] = field(default_factory=dict)

    def note(
        self,
        arbitration: Arbitration,
        names_by_treatment: Mapping[_TreatmentKey, Sequence[str]],
        draws: HoldoutDraws,
    ) -> set[str]:
        """Note the held-out winners of a contest; return the first holdout of each."""
        first_holdouts: set[str] = set()
        candidates = {_treatment_key(candidate): candidate for candidate in arbitration.candidates}
        for win in arbitration.wins:
            tie, names = win.candidate.tie, names_by_treatment.get(win.candidate.tie)
            if names is None:
                continue
            draws.expose(win.candidate)
            first_holdouts.add(names[0])
            self.notes[tie] = replace(candidates[tie], fate=HELD_OUT_BY + names[0])
            would_be = Choice(
                win.slot,
                win.candidate.channel,
                holdout=names[0],
                would_be=win.candidate.treatment,
            )
            self.slots.setdefault(win.slot, would_be)
        return first_holdouts

    def choices(self, arbitration: Arbitration) -> tuple[Choice, ...]:
        """Return the choices of a contest, with the held-out ones."""
        choices = [self._add_holdout(choice) for choice in arbitration.choices]
        slots = {choice.slot for choice in choices}
        return (*choices, *(choice for slot, choice in self.slots.items() if slot not in slots))

    def candidates(
        self,
        open_contest: Arbitration,
        arbitration: Arbitration,
        names_by_treatment: Mapping[_TreatmentKey, Sequence[str]],
    ) -> tuple[Candidate, ...]:
        """Return each candidate with its fate; held-out ones as in the contest of all."""
        fates = {
            _treatment_key(candidate): candidate for candidate in arbitration.candidates
        } | self.notes
        return tuple(
            candidate
            if _treatment_key(candidate) in names_by_treatment.keys() - self.notes.keys()
            else fates.get(_treatment_key(candidate), candidate)
            for candidate in open_contest.candidates
        )

    def _add_holdout(self, choice: Choice) -> Choice:
        withheld_choice = self.slots.get(choice.slot)
        if withheld_choice is None:
            return choice
        return replace(choice, holdout=withheld_choice.holdout, would_be=withheld_choice.would_be)


def _treatment_key(candidate: Candidate) -> _TreatmentKey:
    return candidate.campaign, candidate.offer, candidate.treatment
