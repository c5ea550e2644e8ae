"""What a condition is tested against."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import field
from typing import Final

from msgspec import Struct

from pipeline.model.interaction import Interaction, Known, Scalar

NOTHING: Final[Mapping[str, Scalar]] = {}
_NOWHERE: Final[AbstractSet[str]] = frozenset()


def _nothing() -> Mapping[str, Scalar]:
    return NOTHING


class Facts(Struct, frozen=True):
    """One customer at one moment. `interaction` is None when something else is the cause;
    `derived` is what the enrichers made of it.

    `segments` are the memberships after this interaction, `entered` those that it brought.
    `now_ms` is the record's clock (epoch ms).
    """

    interaction: Interaction | None
    traits: Mapping[str, Known]
    segments: AbstractSet[str]
    entered: AbstractSet[str]
    now_ms: int
    derived: Mapping[str, Scalar] = field(default_factory=_nothing)

    @classmethod
    def of(cls, interaction: Interaction, derived: Mapping[str, Scalar] = NOTHING) -> "Facts":
        """An interaction alone, with nothing known of who it was."""
        return cls(interaction, NOTHING, _NOWHERE, _NOWHERE, interaction.received_at, derived)
