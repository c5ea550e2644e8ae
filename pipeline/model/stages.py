"""The values of `interactions.identified`, `.enriched` and `.segmented`.

Each is what the stage before wrote plus one section. A record carries either an interaction or a
control (see `control.py`), never both.
"""

from msgspec import Struct, field

from pipeline.model.control import Control
from pipeline.model.interaction import Interaction, Known, Scalar


class IdentitySection(Struct, frozen=True):
    """Who it is. `shard` names the part of the profile that this interaction belongs to, `version`
    the move that brought that part to this profile."""

    profile_id: str
    root: str
    shard: str
    version: int
    config: str


class ProfileSection(Struct, frozen=True):
    """What is known: the traits that the active configuration reads, and of what the enrichers
    made of this interaction what it reads."""

    traits: dict[str, Known]
    derived: dict[str, Scalar] = field(default_factory=dict)


class SegmentSection(Struct, frozen=True):
    """What they are now, and what this record changed; sorted names."""

    members: tuple[str, ...]
    entered: tuple[str, ...]
    exited: tuple[str, ...]


class Identified(Struct, frozen=True):
    control: Control | None = None
    interaction: Interaction | None = None
    identity: IdentitySection | None = None


class Enriched(Struct, frozen=True):
    control: Control | None = None
    interaction: Interaction | None = None
    identity: IdentitySection | None = None
    profile: ProfileSection | None = None


class Segmented(Struct, frozen=True):
    control: Control | None = None
    interaction: Interaction | None = None
    identity: IdentitySection | None = None
    profile: ProfileSection | None = None
    segments: SegmentSection | None = None
