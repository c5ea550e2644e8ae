"""Everything known of one person."""

from collections.abc import Iterable
from typing import TypeVar

from msgspec import Struct

from pipeline.adapters.records import Records
from pipeline.conditions.tree import is_hidden
from pipeline.model import topics
from pipeline.model.decision import Decision
from pipeline.model.identity import Evidence, IdentityChange
from pipeline.model.interaction import Identifier, Known
from pipeline.model.profile import Memberships, Profile

T = TypeVar("T", bound=Struct)

_DECISIONS_SHOWN = 10


class Link(Struct, frozen=True):
    """`identifier` stands under `parent`, shown by `evidence`; both None at the top."""

    identifier: str
    parent: str | None = None
    evidence: Evidence | None = None


class Person(Struct, frozen=True):
    """`segments` maps each to when it was entered (epoch ms); `decisions` are the last ones."""

    profile_id: str
    root: str
    tree: tuple[Link, ...]
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
    profile = _last(records, topics.PROFILES, Profile, profile_id)
    if profile is None:
        return None
    memberships = _last(records, topics.MEMBERSHIPS, Memberships, profile_id)
    return Person(
        profile_id=profile_id,
        root=profile.root,
        tree=_tree(records, {profile.root, *profile.identifiers}),
        traits={k: v for k, v in profile.traits.items() if not is_hidden(k)},
        first_seen=profile.first_seen,
        last_seen=profile.last_seen,
        segments=memberships.segments if memberships else {},
        decisions=_decisions(records, profile_id),
    )


def parents(changes: Iterable[IdentityChange]) -> dict[str, Link]:
    """Each identifier's parent: the other end of its latest link (design: identity)."""
    links: dict[str, Link] = {}
    for change in changes:
        if change.kind != "link" or change.evidence is None:
            continue
        known = links.get(change.identifier)
        if known is None or known.evidence is None or known.evidence < change.evidence:
            links[change.identifier] = Link(change.identifier, change.other, change.evidence)
    return links


def _profile_of(records: Records, key: str) -> str | None:
    found = None
    for _, change in records.every(topics.IDENTITIES, IdentityChange, lambda one: one.key == key):
        if change.kind == "resolved":
            found = change.profile_id
    return found


def _last(records: Records, topic: str, kind: type[T], key: str) -> T | None:
    found = None
    for _, record in records.every(topic, kind, lambda one: one.key == key):
        found = record
    return found


def _tree(records: Records, identifiers: set[str]) -> tuple[Link, ...]:
    wanted = records.every(topics.IDENTITIES, IdentityChange, lambda one: one.key in identifiers)
    links = parents(change for _, change in wanted)
    return tuple(links.get(one, Link(one)) for one in sorted(identifiers))


def _decisions(records: Records, profile_id: str) -> tuple[Decision, ...]:
    mine = records.every(topics.DECISIONS, Decision, lambda one: one.key == profile_id)
    ordered = sorted((decision for _, decision in mine), key=lambda one: one.decided_at)
    return tuple(ordered[-_DECISIONS_SHOWN:])
