"""The values of `interactions.identified`, `.enriched` and `.segmented`.

Each is what the stage before wrote plus one section. A record carries either an interaction or a
control (see `control.py`), never both.
"""

from msgspec import Struct, field

from pipeline.model.control import Control
from pipeline.model.interaction import Interaction, Known, Scalar


class IdentitySection(Struct, frozen=True):
    """Who it is. `shard` names the part of the profile that this interaction belongs to, `version`
    the move that brought that part to this profile.

    `own_version` numbers the tops of the strongest identifier, which belongs to the profile as of
    this one; None: it may not, for the shard went on to another's. `shown`: identifiers that its
    interactions showed at that time (ms), and that have not said yet whose they are.
    """

    profile_id: str
    root: str
    shard: str
    version: int
    config: str
    own_version: int | None = None
    shown: dict[str, int] = field(default_factory=dict)


class ProfileSection(Struct, frozen=True):
    """What is known: the traits that the active configuration reads, and of what the enrichers
    made of this interaction what it reads. `shown`: identifiers among the traits that are the
    customer's by what was shown at that time (ms) only; their own rows have not confirmed it."""

    traits: dict[str, Known]
    derived: dict[str, Scalar] = field(default_factory=dict)
    shown: dict[str, int] = field(default_factory=dict)


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
