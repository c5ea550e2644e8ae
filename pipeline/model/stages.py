"""Values of `interactions.identified`, `.enriched` and `.segmented`.

Each has the sections of the previous stage and one more. A record carries either an interaction or
a control (see `control.py`), never both.
"""

from msgspec import Struct, field

from pipeline.model.control import Control
from pipeline.model.interaction import FactValue, Interaction, Scalar


class IdentitySection(Struct, frozen=True):
    """Profile and shard of the customer.

    `shard`: the part of the profile that this interaction belongs to; `version`: the move that
    brought the part to this profile. `own_version`: the number of the strongest identifier's top,
    as of which it belongs to the profile; None: it may not belong to it, because the shard moved on
    to another profile. `shown`: identifiers shown by its interactions (-> ms) whose rows have not
    reported their owner yet.
    """

    profile_id: str
    root: str
    shard: str
    version: int
    config: str
    own_version: int | None = None
    shown: dict[str, int] = field(default_factory=dict)


class ProfileSection(Struct, frozen=True):
    """Traits and derived values that the configuration reads.

    `shown`: identifiers among the traits that are the customer's only by an interaction at that
    time (ms); their own rows have not confirmed it.
    """

    traits: dict[str, FactValue]
    derived: dict[str, Scalar] = field(default_factory=dict)
    shown: dict[str, int] = field(default_factory=dict)


class SegmentSection(Struct, frozen=True):
    """Memberships, and the entries and exits caused by this record; sorted names."""

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
