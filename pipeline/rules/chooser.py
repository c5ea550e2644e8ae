"""Interface of choosers by learned evidence. Implementations need NumPy, whose import takes time,
so they are loaded only if something is learned."""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from pipeline.config.compiled import CompiledCandidate, LearningRules, Worth
from pipeline.rules.knowledge import Knowledge, TreatmentEvidence


class PricedCandidate(Struct, frozen=True):
    """Candidate with its worth for this customer now."""

    candidate: CompiledCandidate
    worth: Worth


class DrawResult(Struct, frozen=True):
    """Choice of a candidate by its index; None: nothing. `explored`: drawn uniformly from all."""

    index: int | None
    explored: bool = False


class Field(Protocol):
    """Competing candidates, by their index. `key`: seeds the draws."""

    def evidence(self, index: int) -> TreatmentEvidence:
        """Return the evidence for a candidate's draw."""

    def draw_worth(self, index: int, key: str) -> PricedCandidate:
        """Return a candidate with its drawn worth."""

    def draw(self, available: Sequence[int], key: str) -> DrawResult:
        """Return the candidate drawn from `available`, or nothing."""

    def chance(self, available: Sequence[int], index: int | None) -> float:
        """Return the probability that `draw` chooses `index`; None: that it chooses nothing."""

    def optimistic_score(self, index: int) -> float:
        """Return an optimistic estimate of a candidate's score."""


class FieldMaker(Protocol):
    """Maker of fields for draws."""

    def field(self, candidates: Sequence[PricedCandidate], context_bin: str) -> Field:
        """Return the field of competing candidates."""


class Chooser(FieldMaker, Protocol):
    """Chooser by a snapshot of evidence."""

    @property
    def rules(self) -> LearningRules:
        """Rules of learning."""

    @property
    def snapshot(self) -> str:
        """Name of the snapshot."""

    def with_knowledge(self, knowledge: Knowledge) -> "Chooser":
        """Return the same chooser with another snapshot."""

    def propensity_field_maker(self) -> FieldMaker:
        """Return a maker of fields that compare probabilities of goals, not their worth."""
