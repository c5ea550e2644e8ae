"""Propensities: probabilities that candidates reach their goals."""

from collections.abc import Sequence
from typing import Protocol

from pipeline.conditions import Facts
from pipeline.config.compiled import CompiledCandidate


class Propensities(Protocol):
    """View of a model of treatments; a decision asks for all its candidates at once."""

    @property
    def label(self) -> str:
        """Names of the models, for the Decision: NAME@VERSION."""

    def probabilities(
        self, candidates: Sequence[CompiledCandidate], facts: Facts
    ) -> Sequence[float | None]:
        """Return the probability of each; None: not learned yet, so the declared one counts."""
