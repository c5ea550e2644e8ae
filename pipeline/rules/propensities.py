"""Propensities: how likely candidates are to reach their goal."""

from collections.abc import Sequence
from typing import Protocol

from pipeline.conditions import Facts
from pipeline.config.compiled import CompiledCandidate


class Propensities(Protocol):
    """View of what was learned of treatments; a decision asks for all its candidates at once."""

    def of(self, candidates: Sequence[CompiledCandidate], facts: Facts) -> Sequence[float | None]:
        """Return the probability of each; None: nothing was learned yet, so the declared one
        counts.
        """
