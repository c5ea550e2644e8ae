"""Interface of choices by what was learned. Implementations need NumPy, which takes time to import,
so they are loaded only where something is learned."""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from pipeline.config.compiled import CompiledCandidate, LearningRules, Worth
from pipeline.rules.knowledge import Knowledge, TreatmentEvidence


class Priced(Struct, frozen=True):
    """Candidate with its worth for this customer now."""

    candidate: CompiledCandidate
    worth: Worth


class Lot(Struct, frozen=True):
    """Choice of a candidate by its index; None: nothing. `explored`: drawn alike from all."""

    index: int | None
    explored: bool = False


class Field(Protocol):
    """Candidates who compete, by their index. `key`: seeds what is drawn."""

    def evidence(self, index: int) -> TreatmentEvidence:
        """Return the evidence that a candidate is drawn by."""

    def draw_worth(self, index: int, key: str) -> Priced:
        """Return a candidate with the worth that was drawn for it."""

    def draw(self, available: Sequence[int], key: str) -> Lot:
        """Return the choice among `available`, which may be nothing."""

    def chance(self, available: Sequence[int], index: int | None) -> float:
        """Return the probability that `draw` gives `index`, or nothing (None)."""

    def optimistic(self, index: int) -> float:
        """Return a score that a candidate may well reach."""


class FieldMaker(Protocol):
    """Maker of fields, by which choices are drawn."""

    def field(self, candidates: Sequence[Priced], context_bin: str) -> Field:
        """Return the candidates as they compete."""


class Chooser(FieldMaker, Protocol):
    """Chooser by a snapshot of what was learned."""

    @property
    def rules(self) -> LearningRules:
        """Rules of learning."""

    @property
    def snapshot(self) -> str:
        """Name of the snapshot."""

    def with_knowledge(self, knowledge: Knowledge) -> "Chooser":
        """Return the chooser by another snapshot."""

    def by_propensity(self) -> FieldMaker:
        """Return the chooser that compares how likely goals are, and not what they are worth."""
