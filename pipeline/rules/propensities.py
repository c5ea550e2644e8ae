"""Propensities: how likely candidates are to reach their goal."""

from collections.abc import Sequence
from typing import Protocol

from pipeline.conditions import Facts
from pipeline.config.compiled import CompiledCandidate


class Propensities(Protocol):
    """View of what was learned of treatments; a decision asks for all its candidates at once."""

    @property
    def label(self) -> str:
        """Name of what it was learned with, for the Decision: models as NAME@VERSION."""

    def of(self, candidates: Sequence[CompiledCandidate], facts: Facts) -> Sequence[float | None]:
        """Return the probability of each; None: nothing was learned yet, so the declared one
        counts.
        """
