"""Contact history: what counts, what an outcome changes, what may be forgotten."""

from typing import Final, Literal

from msgspec.structs import replace

from pipeline.decisioning.state import ContactState, History
from pipeline.model.decision import Contact
from pipeline.model.shards import Shards
from pipeline.model.time import GRACE_MS

Status = Literal["reserved", "committed", "released"]

STATUS_AFTER: Final[dict[str, Status]] = {
    "sent": "committed",
    "delivered": "committed",
    "impression": "committed",
    "click": "committed",
    "dismiss": "committed",
    "conversion": "committed",
    "complaint": "committed",
    "bounce": "released",
    "expired": "released",
}
"""A message that never reached anybody gives its place under the caps back."""

NOT_SHOWN: Final = frozenset(name for name, status in STATUS_AFTER.items() if status == "released")
"""Outcomes by which places are given back."""


def contacts(state: ContactState) -> tuple[Contact, ...]:
    """Every contact of the profile, oldest first, ties by action id."""
    every = [one for part in state.shards.here.values() for one in part.contacts]
    return tuple(sorted(every, key=lambda one: (one.at, one.action_id)))


def add(
    state: ContactState, shard: str, made: tuple[Contact, ...], now_ms: int, keep_ms: int
) -> ContactState:
    """The state with new contacts; those that no cap can count any more (`keep_ms`) go."""
    if not made:
        return state
    known = state.shards.here.get(shard, History())
    kept = tuple(one for one in known.contacts if one.at > now_ms - max(keep_ms, GRACE_MS))
    return ContactState(state.shards.put(shard, History((*kept, *made))))


def settle(state: ContactState, action_id: str, outcome: str) -> ContactState:
    """The state after `outcome` of an action; unchanged when it is unknown here.

    An impression cannot be taken back: committed stays committed.
    """
    status = STATUS_AFTER.get(outcome)
    if status is None:
        return state
    here = {name: _settled(part, action_id, status) for name, part in state.shards.here.items()}
    return ContactState(Shards(here, state.shards.away))


def merge(a: History, b: History) -> History:
    """Both histories, each action once; what is committed on one side stays so."""
    merged: dict[str, Contact] = {}
    for one in (*a.contacts, *b.contacts):
        known = merged.get(one.action_id)
        if known is None or _STRENGTH[one.status] > _STRENGTH[known.status]:
            merged[one.action_id] = one
    return History(tuple(sorted(merged.values(), key=lambda one: (one.at, one.action_id))))


_STRENGTH: Final[dict[Status, int]] = {"reserved": 0, "released": 1, "committed": 2}


def _settled(part: History, action_id: str, status: Status) -> History:
    return History(
        tuple(
            replace(one, status=status)
            if one.action_id == action_id and _STRENGTH[status] > _STRENGTH[one.status]
            else one
            for one in part.contacts
        )
    )
