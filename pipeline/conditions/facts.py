"""Inputs of a condition."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import field
from typing import Final

from msgspec import Struct

from pipeline.model.interaction import Interaction, Known, Scalar

NOTHING: Final[Mapping[str, Scalar]] = {}
_NOWHERE: Final[AbstractSet[str]] = frozenset()


def _no_value() -> Mapping[str, Scalar]:
    return NOTHING


class Facts(Struct, frozen=True):
    """Knowledge of one customer at one moment.

    `interaction`: None when something else is the cause; `derived`: its values by the enrichers.
    `segments`: the memberships after it; `entered`: the segments that it caused to be entered.
    `now_ms`: the record's clock (epoch ms).
    """

    interaction: Interaction | None
    traits: Mapping[str, Known]
    segments: AbstractSet[str]
    entered: AbstractSet[str]
    now_ms: int
    derived: Mapping[str, Scalar] = field(default_factory=_no_value)

    @classmethod
    def of(cls, interaction: Interaction, derived: Mapping[str, Scalar] = NOTHING) -> "Facts":
        """Return the facts of an interaction alone, without anything known of the customer."""
        return cls(interaction, NOTHING, _NOWHERE, _NOWHERE, interaction.received_at, derived)
