"""All profiles and memberships, by profile id."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.adapters.records import Records
from pipeline.model import topics
from pipeline.model.profile import Memberships, Profile


@dataclass(frozen=True, slots=True)
class Everybody:
    """Who is in no segment may have no memberships."""

    profiles: Mapping[str, Profile]
    memberships: Mapping[str, Memberships]


def everybody(records: Records) -> Everybody:
    """As the last snapshots have them."""
    return Everybody(
        records.latest(topics.PROFILES, Profile), records.latest(topics.MEMBERSHIPS, Memberships)
    )
