"""What decisioning keeps for one profile: whom it told what, by the shard that caused it."""

from msgspec import Struct, field

from pipeline.model.decision import Contact
from pipeline.model.shards import Shards


class History(Struct, frozen=True):
    """The contacts of one shard, oldest first."""

    contacts: tuple[Contact, ...] = ()


class ContactState(Struct, frozen=True):
    """One profile's row."""

    shards: Shards[History] = field(default_factory=Shards)
