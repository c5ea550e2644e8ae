"""One person: profile, identity tree and segments."""

from collections.abc import Collection, Iterator
from typing import Protocol

from msgspec import Struct

from pipeline.conditions.tree import is_hidden
from pipeline.identity.log import Link, links
from pipeline.model.identity import IdentityChange
from pipeline.model.interaction import FactValue, Identifier
from pipeline.model.profile import Memberships, Profile

_SHOWN_KINDS = ("link", "refused", "unlink", "unlinked")


class PersonSource(Protocol):
    """Source of persons; identifiers are given by their keys, `namespace:value`."""

    def owners(self, identifier: str) -> Iterator[str]:
        """Yield ids of profiles that may have the identifier, the most likely first."""

    def profile(self, profile_id: str) -> Profile | None:
        """Return the latest snapshot; None if nothing is left under the id."""

    def memberships(self, profile_id: str) -> Memberships | None:
        """Return the latest memberships; None if nothing is left under the id."""

    def changes(self, identifiers: Collection[str]) -> list[IdentityChange]:
        """Return the log entries of each identifier since it was last forgotten, in order."""


class Person(Struct, frozen=True):
    """Person by the latest records of the stages.

    `tree`: each identifier with its parent. `segments`: segment -> entered at (epoch ms).
    """

    profile_id: str
    root: str
    tree: tuple[Link, ...]
    traits: dict[str, FactValue]
    first_seen: int
    last_seen: int
    segments: dict[str, int]


def find_person(people: PersonSource, identifier: Identifier) -> Person | None:
    """Return the person who has the identifier now; None if no profile has it."""
    profiles = (people.profile(owner) for owner in people.owners(identifier.key))
    profile = next((profile for profile in profiles if profile is not None), None)
    if profile is None:
        return None
    memberships = people.memberships(profile.profile_id)
    names = {profile.root, *profile.identifiers}
    tree = links(people.changes(names))
    return Person(
        profile_id=profile.profile_id,
        root=profile.root,
        tree=tuple(tree.get(name, Link(name)) for name in sorted(names)),
        traits={k: v for k, v in profile.traits.items() if not is_hidden(k)},
        first_seen=profile.first_seen,
        last_seen=profile.last_seen,
        segments=memberships.segments if memberships else {},
    )


def link_history(people: PersonSource, person: Person) -> tuple[IdentityChange, ...]:
    """Return the changes that led to the tree, in the order of time."""
    names = {link.identifier for link in person.tree}
    changes = (change for change in people.changes(names) if change.kind in _SHOWN_KINDS)
    return tuple(sorted(changes, key=lambda change: change.at))


def were_linked(people: PersonSource, identifier: Identifier, other: Identifier) -> bool:
    """Return whether the two identifiers were ever linked, whichever persons have them now."""
    ends = {identifier.key, other.key}
    changes = (change for change in people.changes(ends) if change.kind == "link")
    return any({change.identifier, change.other} == ends for change in changes)
