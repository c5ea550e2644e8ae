"""Profiles with their memberships, by the latest records."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

from pipeline.adapters.avro import Codec
from pipeline.adapters.rocks import RowMap, temporary_rows
from pipeline.adapters.snapshots import scan
from pipeline.home.records import Records
from pipeline.model import topics
from pipeline.model.profile import Memberships, Profile

Members: TypeAlias = dict[str, int]
"""Segment -> entered at (ms)."""


@dataclass(frozen=True, slots=True)
class MemberProfile:
    """Profile with its memberships; `at` (epoch ms): time of the latest change of either."""

    profile: Profile
    members: Members
    at: int


class MemberProfiles:
    """All profiles in the order of their ids; on disk, because they may exceed memory."""

    def __init__(self, profiles: RowMap, memberships: RowMap, codec: Codec) -> None:
        self._profiles = profiles
        self._memberships = memberships
        self._codec = codec

    def __iter__(self) -> Iterator[MemberProfile]:
        for key, value in self._profiles.items():
            profile = self._codec.decode(topics.PROFILES, value)
            if isinstance(profile, Profile):
                yield self._person(profile, self._memberships.get(key))

    def __len__(self) -> int:
        return sum(1 for _ in self._profiles.items())

    def _person(self, profile: Profile, value: bytes | None) -> MemberProfile:
        memberships = None if value is None else self._codec.decode(topics.MEMBERSHIPS, value)
        if not isinstance(memberships, Memberships):
            return MemberProfile(profile, {}, profile.updated_at)
        at = max(profile.updated_at, memberships.updated_at)
        return MemberProfile(profile, memberships.segments, at)


@contextmanager
def open_profiles(records: Records) -> Iterator[MemberProfiles]:
    """Provide all profiles as of now."""
    with temporary_rows() as profiles, temporary_rows() as memberships:
        for topic, rows in ((topics.PROFILES, profiles), (topics.MEMBERSHIPS, memberships)):
            for record in scan(records.settings.kafka(), topic):
                if record.value is None:
                    del rows[record.key.encode()]
                else:
                    rows[record.key.encode()] = record.value
        yield MemberProfiles(profiles, memberships, records.codec)
