"""What decisioning keeps for one profile: whom it told what, by the shard that caused it."""

from msgspec import Struct, field

from pipeline.model.decision import Assignment, Contact
from pipeline.model.shards import Shards


class History(Struct, frozen=True):
    """The contacts of one shard, oldest first; when (ms) its interactions last silenced what; and
    the holdouts that were drawn because of it, by name."""

    contacts: tuple[Contact, ...] = ()
    silenced: dict[str, int] = field(default_factory=dict)
    holdouts: dict[str, Assignment] = field(default_factory=dict)


class ContactState(Struct, frozen=True):
    """One profile's row."""

    shards: Shards[History] = field(default_factory=Shards)
