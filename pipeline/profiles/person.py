"""Everything known of one person."""

from msgspec import Struct

from pipeline.adapters.records import Records
from pipeline.conditions.tree import is_hidden
from pipeline.identity.log import Link, links
from pipeline.model import topics
from pipeline.model.decision import Decision
from pipeline.model.identity import IdentityChange
from pipeline.model.interaction import Identifier, Known
from pipeline.model.profile import Memberships, Profile

_DECISIONS_SHOWN = 10
_TOLD = ("link", "refused", "unlink", "unlinked", "erased")


class Person(Struct, frozen=True):
    """`tree`: each identifier with its parent; `history`: how it came to be so, in the order of
    time. `segments` maps each to when it was entered (epoch ms); `decisions` are the last ones."""

    profile_id: str
    root: str
    tree: tuple[Link, ...]
    history: tuple[IdentityChange, ...]
    traits: dict[str, Known]
    first_seen: int
    last_seen: int
    segments: dict[str, int]
    decisions: tuple[Decision, ...]


def find(records: Records, identifier: Identifier) -> Person | None:
    """The person that an identifier belongs to now; None when it was never seen."""
    profile_id = _profile_of(records, identifier.key)
    if profile_id is None:
        return None
    profile = records.last(topics.PROFILES, Profile, profile_id)
    if profile is None:
        return None
    memberships = records.last(topics.MEMBERSHIPS, Memberships, profile_id)
    names = {profile.root, *profile.identifiers}
    changes = _changes(records, names)
    found = links(changes)
    return Person(
        profile_id=profile_id,
        root=profile.root,
        tree=tuple(found.get(one, Link(one)) for one in sorted(names)),
        history=tuple(sorted(filter(_is_told, changes), key=lambda one: one.at)),
        traits={k: v for k, v in profile.traits.items() if not is_hidden(k)},
        first_seen=profile.first_seen,
        last_seen=profile.last_seen,
        segments=memberships.segments if memberships else {},
        decisions=_decisions(records, profile_id, _erased_at(records, profile.root)),
    )


def linked(records: Records, one: Identifier, other: Identifier) -> bool:
    """Whether something ever linked the two, whoever they belong to now."""
    ends = {one.key, other.key}
    changes = _changes(records, ends)
    shown = (change for change in changes if change.kind == "link")
    return any({change.identifier, change.other} == ends for change in shown)


def _is_told(change: IdentityChange) -> bool:
    return change.kind in _TOLD


def _profile_of(records: Records, key: str) -> str | None:
    """By what the log of identities said last; where it says nothing any more, by the profiles."""
    for change in reversed(_changes(records, {key})):
        if change.kind in ("resolved", "erased"):
            return change.profile_id
    every = records.latest(topics.PROFILES, Profile)
    return next((one for one, profile in every.items() if key in profile.identifiers), None)


def _changes(records: Records, identifiers: set[str]) -> list[IdentityChange]:
    wanted = records.every(topics.IDENTITIES, IdentityChange, lambda one: one.key in identifiers)
    return [change for _, change in wanted]


def _erased_at(records: Records, key: str) -> int:
    """When, by the broker's clock, the identifier was forgotten last; -1: never."""
    mine = records.every(topics.IDENTITIES, IdentityChange, lambda one: one.key == key)
    return max((stored.timestamp for stored, one in mine if one.kind == "erased"), default=-1)


def _decisions(records: Records, profile_id: str, since_ms: int) -> tuple[Decision, ...]:
    mine = records.every(
        topics.DECISIONS, Decision, lambda one: one.key == profile_id and one.timestamp > since_ms
    )
    ordered = sorted((decision for _, decision in mine), key=lambda one: one.decided_at)
    return tuple(ordered[-_DECISIONS_SHOWN:])
