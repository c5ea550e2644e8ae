"""State of segmentation: one row per profile."""

from msgspec import Struct, field

from pipeline.model.interaction import FactValue
from pipeline.model.stages import IdentitySection


class MembershipState(Struct, frozen=True):
    """Memberships of one profile, and the inputs of their last evaluation.

    `members`: segment -> entered at (ms). The evaluation read `traits` of `identity` by the
    configuration with the digest `config`, as of `at` (ms).
    """

    members: dict[str, int] = field(default_factory=dict)
    traits: dict[str, FactValue] = field(default_factory=dict)
    identity: IdentitySection | None = None
    config: str = ""
    at: int = 0
