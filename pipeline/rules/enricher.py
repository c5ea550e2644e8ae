"""Interface of enrichers, and what they may need of the world."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from pipeline.model.interaction import Interaction, Scalar


class Enricher(Protocol):
    """Pure: of equal interactions it derives the same."""

    @property
    def names(self) -> tuple[str, ...]:
        """Everything that it may derive."""

    def derive(self, interaction: Interaction) -> Mapping[str, Scalar]:
        """Return what is known, by name; nothing that a sender writes makes it raise."""


@dataclass(frozen=True, slots=True)
class Place:
    """Location of an address; None: not known."""

    country: str | None = None
    region: str | None = None
    city: str | None = None


Places: TypeAlias = Callable[[str], Place | None]
"""The place of an IP address as written; None when it is none, or nobody knows."""
