"""Holdouts: a share of customers goes without something, so that its effect can be measured.

A customer is drawn when they would first get something of the kind, by a hash of who they are then,
and stays as drawn. What they are held out of competes all the same, to know what would have been
said; what is said is the best of the rest. So the lift of a holdout of everything is over nothing,
and that of a holdout of some over the next best.
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

Contest: TypeAlias = Callable[[Sequence[Lineup]], Arbitration]
"""Fills the slots from lineups."""

_TreatmentKey: TypeAlias = tuple[str, str, str]


@dataclass(slots=True)
class HoldoutDraws:
    """Holdouts of a customer: `known` ones, and those `drawn` by this decision."""

    profile_id: str
    now_ms: int
    known: Mapping[str, Assignment]
    drawn: dict[str, Assignment] = field(default_factory=dict)

    def holding(self, candidate: CompiledCandidate) -> tuple[str, ...]:
        """Return the holdouts that keep `candidate` from the customer, once they are drawn;
        transactional messages have none."""
        if candidate.transactional or not candidate.holdouts:
            return ()
        return tuple(one.name for one in candidate.holdouts if self._assignment(one).held)

    def expose(self, candidate: CompiledCandidate) -> None:
        """Draw the holdouts of a candidate for good."""
        if candidate.transactional:
            return
        for one in candidate.holdouts:
            if one.name not in self.known:
                self.drawn[one.name] = self._assignment(one)

    def _assignment(self, rule: CompiledHoldout) -> Assignment:
        known = self.known.get(rule.name)
        if known is not None:
            return known
        return Assignment(rule.name, is_held(rule, self.profile_id), self.now_ms)


def is_held(rule: CompiledHoldout, profile_id: str) -> bool:
    """Return whether the customer's draw, from 0 to 1 by who it is, is below the share."""
    digest = hashlib.sha256(f"{rule.name}/{profile_id}".encode()).digest()
    return int.from_bytes(digest[:8]) < rule.share * _RANGE


class FilledSlots(Struct, frozen=True):
    """Slots as they were filled: `made` is what is said, `choices` and `candidates` are what the
    Decision says of them."""

    made: Arbitration
    choices: tuple[Choice, ...]
    candidates: tuple[Candidate, ...]


def fill_slots(lineups: Sequence[Lineup], contest: Contest, draws: HoldoutDraws) -> FilledSlots:
    """Fill the slots of a decision from what the customer is not held out of.

    A contest between all says who would have won. As long as one of the winners is held out, what
    that holdout covers leaves and the others compete again: its place may have gone to somebody
    whom another holdout keeps back, which is to be known of both.
    """
    held = {
        one.candidate.tie: holding
        for lineup in lineups
        for one in lineup.ranked
        if (holding := draws.holding(one.candidate))
    }
    everybody = made = contest(lineups)
    if not held:
        _expose(made, draws)
        return FilledSlots(made, tuple(made.choices), tuple(made.judged))
    withheld = _WithheldWinners()
    gone: set[str] = set()
    while kept_back := withheld.note(made, held, draws):
        gone |= kept_back
        made = contest(_without(lineups, held, gone))
    every = {name for names in held.values() for name in names}
    if any(gone.isdisjoint(names) for names in held.values()):
        made = contest(_without(lineups, held, every))
    _expose(made, draws)
    return FilledSlots(made, withheld.choices(made), withheld.candidates(everybody, made, held))


def _expose(made: Arbitration, draws: HoldoutDraws) -> None:
    for win in made.wins:
        draws.expose(win.candidate)


def _without(
    lineups: Sequence[Lineup], held: Mapping[_TreatmentKey, Sequence[str]], gone: set[str]
) -> tuple[Lineup, ...]:
    """Return the lineups without what the holdouts that are `gone` keep back."""
    return tuple(
        replace(
            lineup,
            ranked=[
                one for one in lineup.ranked if gone.isdisjoint(held.get(one.candidate.tie, ()))
            ],
        )
        for lineup in lineups
    )


@dataclass(slots=True)
class _WithheldWinners:
    """Winners who are held out. `slots`: the first of each slot, as its choice says it; `notes`:
    as the candidates say it."""

    slots: dict[str, Choice] = field(default_factory=dict)
    notes: dict[_TreatmentKey, Candidate] = field(default_factory=dict)

    def note(
        self, made: Arbitration, held: Mapping[_TreatmentKey, Sequence[str]], draws: HoldoutDraws
    ) -> set[str]:
        """Note the winners of a contest who are held out; return the holdouts of each."""
        kept_back: set[str] = set()
        noted = {_treatment_key(one): one for one in made.judged}
        for win in made.wins:
            tie, holding = win.candidate.tie, held.get(win.candidate.tie)
            if holding is None:
                continue
            draws.expose(win.candidate)
            kept_back.add(holding[0])
            self.notes[tie] = replace(noted[tie], fate=HELD_OUT_BY + holding[0])
            would_be = Choice(
                win.slot,
                win.candidate.channel,
                holdout=holding[0],
                would_be=win.candidate.treatment,
            )
            self.slots.setdefault(win.slot, would_be)
        return kept_back

    def choices(self, made: Arbitration) -> tuple[Choice, ...]:
        """Return the choices of a contest, with those that were held out."""
        contested = [self._beside(one) for one in made.choices]
        opened = {one.slot for one in contested}
        return (*contested, *(one for slot, one in self.slots.items() if slot not in opened))

    def candidates(
        self, everybody: Arbitration, made: Arbitration, held: Mapping[_TreatmentKey, Sequence[str]]
    ) -> tuple[Candidate, ...]:
        """Return the fate of each candidate; that of a held-out one is from the contest of all."""
        fates = {_treatment_key(one): one for one in made.judged} | self.notes
        return tuple(
            one
            if _treatment_key(one) in held.keys() - self.notes.keys()
            else fates.get(_treatment_key(one), one)
            for one in everybody.judged
        )

    def _beside(self, choice: Choice) -> Choice:
        withheld = self.slots.get(choice.slot)
        if withheld is None:
            return choice
        return replace(choice, holdout=withheld.holdout, would_be=withheld.would_be)


def _treatment_key(one: Candidate) -> _TreatmentKey:
    return one.campaign, one.offer, one.treatment
