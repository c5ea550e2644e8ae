"""Persons read from the topics, each time from their beginning."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from pipeline.home.records import Records
from pipeline.model import topics
from pipeline.model.decision import Decision
from pipeline.model.identity import IdentityChange
from pipeline.model.profile import Memberships, Profile
from pipeline.profile_reads.member_profiles import open_profiles

_MAX_DECISIONS = 10


@dataclass(frozen=True, slots=True)
class TopicScan:
    """Source of persons for commands: only the broker needs to run."""

    records: Records

    def owners(self, identifier: str) -> Iterator[str]:
        """Yield the owner by the log of identities, then owners by the snapshots of profiles."""
        for change in reversed(self.changes({identifier})):
            if change.kind == "resolved" and change.profile_id is not None:
                yield change.profile_id
                break
        with open_profiles(self.records) as people:
            for profile in (person.profile for person in people):
                if identifier in profile.identifiers:
                    yield profile.profile_id

    def profile(self, profile_id: str) -> Profile | None:
        return self.records.read_last(topics.PROFILES, Profile, profile_id)

    def memberships(self, profile_id: str) -> Memberships | None:
        return self.records.read_last(topics.MEMBERSHIPS, Memberships, profile_id)

    def changes(self, identifiers: Collection[str]) -> list[IdentityChange]:
        entries: dict[str, list[IdentityChange]] = {}
        log = self.records.read_all(
            topics.IDENTITIES, IdentityChange, lambda record: record.key in identifiers
        )
        for _, change in log:
            if change.kind == "erased":
                entries.pop(change.identifier, None)
            else:
                entries.setdefault(change.identifier, []).append(change)
        return [change for changes in entries.values() for change in changes]

    def decisions(self, profile_id: str, root: str) -> tuple[Decision, ...]:
        """Return the latest decisions since the person was last forgotten, the oldest first."""
        erased_ms = self._erased_at(root)
        matches = self.records.read_all(
            topics.DECISIONS,
            Decision,
            lambda record: record.key == profile_id and record.timestamp > erased_ms,
        )
        decisions = sorted(
            (decision for _, decision in matches), key=lambda decision: decision.decided_at
        )
        return tuple(decisions[-_MAX_DECISIONS:])

    def _erased_at(self, identifier: str) -> int:
        """Return the time (epoch ms, by the broker's clock) at which the identifier was last
        erased; -1 if it never was."""
        matches = self.records.read_all(
            topics.IDENTITIES, IdentityChange, lambda record: record.key == identifier
        )
        return max(
            (record.timestamp for record, change in matches if change.kind == "erased"), default=-1
        )
