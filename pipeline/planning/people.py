"""Every profile as the last records left it."""

from dataclasses import dataclass
from typing import TypeAlias

from pipeline.adapters.records import Records
from pipeline.model import topics
from pipeline.model.profile import Memberships, Profile

Members: TypeAlias = dict[str, int]
"""Segment -> entered at (ms)."""


@dataclass(frozen=True, slots=True)
class Person:
    """A profile with its memberships, as of `at` (ms), when either last changed."""

    profile: Profile
    members: Members
    at: int


def people(records: Records) -> list[Person]:
    """All of them, in the order of their ids."""
    profiles = records.latest(topics.PROFILES, Profile)
    memberships = records.latest(topics.MEMBERSHIPS, Memberships)
    return [_person(profiles[key], memberships.get(key)) for key in sorted(profiles)]


def _person(profile: Profile, memberships: Memberships | None) -> Person:
    if memberships is None:
        return Person(profile, {}, profile.updated_at)
    at = max(profile.updated_at, memberships.updated_at)
    return Person(profile, memberships.segments, at)
