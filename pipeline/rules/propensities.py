"""Propensities: probabilities that candidates reach their goals."""

from collections.abc import Sequence
from typing import Protocol

from pipeline.conditions import Facts
from pipeline.config.compiled import CompiledCandidate


class Propensities(Protocol):
    """Predictions of the propensity models in force; a decision asks for all its candidates at
    once."""

    @property
    def label(self) -> str:
        """Names and versions of the models, as a Decision records them: NAME@VERSION."""

    def probabilities(
        self, candidates: Sequence[CompiledCandidate], facts: Facts
    ) -> Sequence[float | None]:
        """Return the probability of each candidate; None: not learned yet, so the declared one
        counts."""
