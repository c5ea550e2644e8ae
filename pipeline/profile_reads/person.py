"""Everything known of one person."""

from collections.abc import Collection, Iterator
from typing import Protocol

from msgspec import Struct

from pipeline.conditions.tree import is_hidden
from pipeline.identity.log import Link, links
from pipeline.model.identity import IdentityChange
from pipeline.model.interaction import Identifier, Known
from pipeline.model.profile import Memberships, Profile

_TOLD = ("link", "refused", "unlink", "unlinked")


class People(Protocol):
    """Where persons are read from; identifiers are given by their keys, `namespace:value`."""

    def owners(self, identifier: str) -> Iterator[str]:
        """Ids of profiles that it may belong to, the likeliest first."""

    def profile(self, profile_id: str) -> Profile | None:
        """The latest snapshot; None when nothing is left under the id."""

    def memberships(self, profile_id: str) -> Memberships | None:
        """As `profile`."""

    def changes(self, identifiers: Collection[str]) -> list[IdentityChange]:
        """What the log of identities says of each since it was forgotten last, in its order."""


class Person(Struct, frozen=True):
    """`tree`: each identifier with its parent. `segments` maps each to when it was entered (epoch
    ms)."""

    profile_id: str
    root: str
    tree: tuple[Link, ...]
    traits: dict[str, Known]
    first_seen: int
    last_seen: int
    segments: dict[str, int]


def find(people: People, identifier: Identifier) -> Person | None:
    """The person that an identifier belongs to now; None when it was never seen."""
    found = (people.profile(one) for one in people.owners(identifier.key))
    profile = next((one for one in found if one is not None), None)
    if profile is None:
        return None
    memberships = people.memberships(profile.profile_id)
    names = {profile.root, *profile.identifiers}
    shown = links(people.changes(names))
    return Person(
        profile_id=profile.profile_id,
        root=profile.root,
        tree=tuple(shown.get(one, Link(one)) for one in sorted(names)),
        traits={k: v for k, v in profile.traits.items() if not is_hidden(k)},
        first_seen=profile.first_seen,
        last_seen=profile.last_seen,
        segments=memberships.segments if memberships else {},
    )


def history(people: People, person: Person) -> tuple[IdentityChange, ...]:
    """How the tree came to be so, in the order of time."""
    names = {link.identifier for link in person.tree}
    told = (change for change in people.changes(names) if change.kind in _TOLD)
    return tuple(sorted(told, key=lambda one: one.at))


def linked(people: People, one: Identifier, other: Identifier) -> bool:
    """Whether something ever linked the two, whoever they belong to now."""
    ends = {one.key, other.key}
    shown = (change for change in people.changes(ends) if change.kind == "link")
    return any({change.identifier, change.other} == ends for change in shown)
