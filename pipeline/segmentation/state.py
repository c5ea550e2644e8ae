"""What segmentation keeps for one profile."""

from msgspec import Struct, field


class MembershipState(Struct, frozen=True):
    """Segment -> entered at (ms)."""

    members: dict[str, int] = field(default_factory=dict)
