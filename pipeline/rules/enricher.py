"""Interface of enrichers, and of the data that they may need."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from pipeline.model.interaction import Interaction, Scalar


class Enricher(Protocol):
    """Enricher of interactions. Pure: equal interactions give equal values."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all values that the enricher may derive."""

    def derive(self, interaction: Interaction) -> Mapping[str, Scalar]:
        """Return the derived values by name; no input makes it raise."""


@dataclass(frozen=True, slots=True)
class Place:
    """Location of an address; None: not known."""

    country: str | None = None
    region: str | None = None
    city: str | None = None


Places: TypeAlias = Callable[[str], Place | None]
"""Function that returns the place of an IP address as written; None: the place is unknown, or the
text is not an address."""
