"""Inputs of a condition."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import field
from typing import Final

from msgspec import Struct

from pipeline.model.interaction import FactValue, Interaction, Scalar

NOTHING: Final[Mapping[str, Scalar]] = {}
_NOWHERE: Final[AbstractSet[str]] = frozenset()


def _no_value() -> Mapping[str, Scalar]:
    return NOTHING


class Facts(Struct, frozen=True):
    """Knowledge of one customer at one moment.

    `interaction`: None for another cause; `derived`: its values from the enrichers. `segments`: the
    memberships after the interaction; `entered`: the segments that it made the customer enter.
    `now_ms`: the record's clock (epoch ms).
    """

    interaction: Interaction | None
    traits: Mapping[str, FactValue]
    segments: AbstractSet[str]
    entered: AbstractSet[str]
    now_ms: int
    derived: Mapping[str, Scalar] = field(default_factory=_no_value)

    @classmethod
    def of(cls, interaction: Interaction, derived: Mapping[str, Scalar] = NOTHING) -> "Facts":
        """Return the facts of an interaction alone, without the customer's."""
        return cls(interaction, NOTHING, _NOWHERE, _NOWHERE, interaction.received_at, derived)
