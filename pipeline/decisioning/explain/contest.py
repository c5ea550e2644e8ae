"""Contest for a slot: its winner, the margin, and the reasons for and against each candidate."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.decisioning.arbitrate import BEATEN_BY, NOTHING
from pipeline.decisioning.explain.flip import Flip, SlotCandidates, price_of, smallest_flip
from pipeline.decisioning.explain.phrases import Language, phrase
from pipeline.decisioning.explain.rules_in_words import RejectedTreatment, constraint_of
from pipeline.model.decision import HELD_OUT_BY, Candidate, Choice

_MAX_LOSERS: Final = 5
"""Maximum of rejected treatments explained in words; the others are only counted."""


@dataclass(frozen=True, slots=True)
class Contest:
    """Slot with its candidates, the best first.

    `winner`: of the slot, or, where a holdout left it empty, the candidate that would have won;
    `all_candidates`: those of all slots; `prices`: the shadow prices of budgets, by campaign;
    `p_alone`: candidates were compared by `p`, without their value.
    """

    choice: Choice
    winner: Candidate | None
    candidates: Sequence[Candidate]
    all_candidates: Sequence[Candidate]
    rejections: tuple[RejectedTreatment, ...]
    language: Language
    prices: Mapping[str, float]
    p_alone: bool = False

    @property
    def transactional(self) -> bool:
        """Whether the slot is a transactional message's own, for which nothing else competes."""
        return "/" in self.choice.slot

    def flip(self) -> Flip | None:
        """Return the smallest change that gives the slot to another candidate, or to none."""
        if self.transactional or self.choice.explored or self.p_alone:
            return None
        slot_candidates = SlotCandidates(self.candidates, self.all_candidates, self.prices)
        return smallest_flip(slot_candidates, self.winner, self.language)

    def words(self, flip: Flip | None) -> Iterator[str]:
        """Yield the reasons for the winner and against the others, and the flip."""
        yield from self._result()
        for treatment in self.rejections[:_MAX_LOSERS]:
            yield self._phrase("rejected", treatment=treatment.treatment, words=treatment.words)
        if len(self.rejections) > _MAX_LOSERS:
            yield self._phrase("more rejected", count=len(self.rejections) - _MAX_LOSERS)
        if flip is not None:
            yield self._phrase("flip", what=flip.what, start=flip.start, end=flip.end)

    def pros(self, candidate: Candidate) -> Iterator[str]:
        """Yield the reasons for a candidate."""
        if candidate is self.winner:
            yield self._phrase("best")
        worth = candidate.p * candidate.value
        if worth > 0:
            yield self._phrase("worth", amount=worth, p=candidate.p, value=candidate.value)
        yield from self._evidence(candidate)
        if candidate.cost == 0:
            yield self._phrase("cheap")
        if candidate.weight > 1:
            yield self._phrase("raised", weight=candidate.weight)

    def _evidence(self, candidate: Candidate) -> Iterator[str]:
        if candidate.tried > 0:
            yield self._phrase(
                "learned",
                tried=candidate.tried,
                trials=candidate.trials,
                successes=candidate.successes,
            )

    def cons(self, candidate: Candidate) -> Iterator[str]:
        """Yield the reasons against a candidate."""
        if candidate.cost > 0:
            yield self._phrase("costs", cost=candidate.cost)
        if (price := price_of(candidate, self.prices)) > 0:
            yield self._phrase("dear", price=price)
        if candidate.p + candidate.anyway < 1:
            yield self._phrase("unlikely", p=candidate.p + candidate.anyway)
        if candidate.anyway > 0:
            yield self._phrase("anyway", anyway=candidate.anyway, p=candidate.p)
        if candidate.weight < 1:
            yield self._phrase("lowered", weight=candidate.weight)
        yield from self._objection(candidate)

    def _objection(self, candidate: Candidate) -> Iterator[str]:
        kind = constraint_of(candidate.fate)
        if kind is not None:
            yield self._phrase(kind, name=candidate.fate.removeprefix(f"{kind} "))
        elif candidate.fate.startswith(HELD_OUT_BY):
            yield self._phrase("held out by", name=candidate.fate.removeprefix(HELD_OUT_BY))
        elif candidate.fate.startswith(BEATEN_BY):
            yield self._explain_loss(candidate, candidate.fate.removeprefix(BEATEN_BY))

    def _explain_loss(self, loser: Candidate, winner: str) -> str:
        if winner == NOTHING:
            return self._phrase("worth nothing")
        rival = next(
            (candidate for candidate in self.all_candidates if candidate.treatment == winner), None
        )
        if rival is None or rival.slot != loser.slot or rival.score < loser.score:
            return self._phrase("another channel", winner=winner)
        return self._phrase("beaten", gap=rival.score - loser.score, winner=winner)

    def _result(self) -> Iterator[str]:
        choice, winner = self.choice, self.winner
        if winner is None:
            yield self._phrase("nothing", slot=choice.slot)
            yield self._explain_empty_slot()
            return
        if choice.holdout is not None:
            key = "held" if choice.treatment is None else "held instead"
            yield self._phrase(
                key, slot=choice.slot, holdout=choice.holdout, treatment=choice.would_be
            )
            if choice.treatment is None:
                return
        yield self._phrase(
            "chosen",
            slot=choice.slot,
            treatment=winner.treatment,
            offer=winner.offer,
            campaign=winner.campaign,
            channel=winner.channel,
            score=winner.score,
            sum=self._sum(winner),
        )
        if self.transactional:
            yield self._phrase("transactional")
        if choice.explored:
            yield self._phrase("explored", propensity=choice.propensity)
        elif choice.propensity < 1:
            yield self._phrase("drawn", propensity=choice.propensity)
        for candidate in self.candidates:
            if candidate.fate == BEATEN_BY + winner.treatment:
                yield self._phrase(
                    "runner-up", treatment=candidate.treatment, score=candidate.score
                )
                return

    def _explain_empty_slot(self) -> str:
        for candidate in self.candidates:
            if candidate.fate == BEATEN_BY + NOTHING:
                return self._phrase(
                    "nothing pays",
                    treatment=candidate.treatment,
                    score=candidate.score,
                    sum=self._sum(candidate),
                )
            if candidate.fate.startswith(BEATEN_BY):
                return self._phrase("instead", winner=candidate.fate.removeprefix(BEATEN_BY))
        return self._phrase("nothing left")

    def _sum(self, candidate: Candidate) -> str:
        if self.p_alone:
            return self._phrase("p alone")
        price = price_of(candidate, self.prices)
        numbers = {
            "p": candidate.p,
            "value": candidate.value,
            "cost": candidate.cost,
            "weight": candidate.weight,
        }
        if price > 0:
            return self._phrase("dear sum", **numbers, price=price)
        return self._phrase("sum", **numbers)

    def _phrase(self, key: str, /, **parts: object) -> str:
        return phrase(self.language, key, **parts)
