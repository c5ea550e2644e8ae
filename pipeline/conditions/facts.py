"""What a condition is tested against."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from pipeline.model.interaction import Interaction, Known


@dataclass(frozen=True, slots=True)
class Facts:
    """One customer at one moment. `interaction` is None when something else is the cause.

    `segments` are the memberships after this interaction, `entered` those that it brought.
    `now_ms` is the record's clock (epoch ms).
    """

    interaction: Interaction | None
    traits: Mapping[str, Known]
    segments: AbstractSet[str]
    entered: AbstractSet[str]
    now_ms: int
