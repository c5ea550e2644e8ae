"""Row of the decisioning stage: contact history of one profile, by causing shard."""

from msgspec import Struct, field

from pipeline.model.belongings import Belonging
from pipeline.model.decision import Action, Assignment, Contact, DeferredMessage
from pipeline.model.shards import Shards
from pipeline.model.stages import Segmented


class AwaitingAction(Struct, frozen=True):
    """Action held until its address, `identifier`, is confirmed as the customer's; an interaction
    ascribed it to them at `shown_at` (ms).

    `until` (ms): that of its contact once it is sent; before that, the contact counts up to the
    action's deadline.
    """

    identifier: str
    shown_at: int
    action: Action
    until: int | None = None


class Deferral(Struct, frozen=True):
    """Messages of one interaction that are decided again at `until` (ms), the end of quiet hours.

    `first`: the decision on the interaction, made at `since` (ms); `record`: the interaction, with
    the customer as of the last record; `by_log`: times are of a log's own clock.
    """

    first: str
    since: int
    until: int
    messages: tuple[DeferredMessage, ...]
    record: Segmented
    by_log: bool = False


class History(Struct, frozen=True):
    """Contacts of one shard, oldest first.

    `silenced`: time (ms) of the last interaction that caused each suppression; `holdouts`: those
    drawn for it, by name; `awaiting`, `deferred`: messages yet to be sent, or decided again.
    """

    contacts: tuple[Contact, ...] = ()
    silenced: dict[str, int] = field(default_factory=dict)
    holdouts: dict[str, Assignment] = field(default_factory=dict)
    awaiting: tuple[AwaitingAction, ...] = ()
    deferred: tuple[Deferral, ...] = ()


class ContactState(Struct, frozen=True):
    """Row of one profile. `belongings`: owners of the customer's former identifiers; `by_log`:
    whether the last interaction came from a log with its own clock."""

    shards: Shards[History] = field(default_factory=Shards)
    belongings: dict[str, Belonging] = field(default_factory=dict)
    by_log: bool = False
