"""Inputs of a condition."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import field
from typing import Final

from msgspec import Struct

from pipeline.model.interaction import FactValue, Interaction, Scalar

NO_VALUES: Final[Mapping[str, Scalar]] = {}
_NO_SEGMENTS: Final[AbstractSet[str]] = frozenset()


def _no_values() -> Mapping[str, Scalar]:
    return NO_VALUES


class Facts(Struct, frozen=True):
    """Values of one customer at one moment, which conditions read.

    `interaction`: None for another cause; `derived_values`: those that enrichers derived from it.
    `segments`: the memberships after the interaction; `entered_segments`: the segments that it made
    the customer enter. `now_ms`: the record's clock (epoch ms).
    """

    interaction: Interaction | None
    traits: Mapping[str, FactValue]
    segments: AbstractSet[str]
    entered_segments: AbstractSet[str]
    now_ms: int
    derived_values: Mapping[str, Scalar] = field(default_factory=_no_values)

    @classmethod
    def of(
        cls, interaction: Interaction, derived_values: Mapping[str, Scalar] = NO_VALUES
    ) -> "Facts":
        """Return the facts of an interaction alone, without traits and segments."""
        return cls(
            interaction,
            NO_VALUES,
            _NO_SEGMENTS,
            _NO_SEGMENTS,
            interaction.received_at,
            derived_values,
        )
