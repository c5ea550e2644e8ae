"""What segmentation keeps for one profile."""

from msgspec import Struct, field

from pipeline.model.interaction import Known
from pipeline.model.stages import IdentitySection


class MembershipState(Struct, frozen=True):
    """`members`: segment -> entered at (ms). The rest says by what they were evaluated last: the
    traits, whose they are, the configuration (digest), and when (`at`, ms)."""

    members: dict[str, int] = field(default_factory=dict)
    traits: dict[str, Known] = field(default_factory=dict)
    identity: IdentitySection | None = None
    config: str = ""
    at: int = 0
