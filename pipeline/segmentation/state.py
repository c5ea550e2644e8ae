"""What segmentation keeps for one profile."""

from msgspec import Struct, field

from pipeline.model.interaction import Known
from pipeline.model.stages import IdentitySection


class MembershipState(Struct, frozen=True):
    """`members`: segment -> entered at (ms). The rest is what time needs to go on without the
    customer: the traits last seen, whose they are, the configuration (digest) that both were
    evaluated by and when (`at`, ms), and when time alone may next change something; `log`: by a
    log's clock.
    """

    members: dict[str, int] = field(default_factory=dict)
    traits: dict[str, Known] = field(default_factory=dict)
    identity: IdentitySection | None = None
    config: str = ""
    at: int = 0
    due_at: int | None = None
    log: bool = False
