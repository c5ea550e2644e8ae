"""Reach of campaigns: the number of customers that each can address, as far as the data show."""

from collections import Counter
from collections.abc import Collection, Iterator

from msgspec import Struct

from pipeline.conditions import Facts
from pipeline.config.compile import Configuration
from pipeline.config.compiled import AUDIENCE_LABEL, Entry, Gate
from pipeline.config.names import address_trait
from pipeline.profile_reads.member_profiles import MemberProfile
from pipeline.segmentation.evaluate import MembershipChange


class CampaignReach(Struct, frozen=True):
    """Number of customers in a campaign's audience who have an address for a treatment.

    Conditions on an interaction are assumed to hold. `unknown`: the audience reads a trait that is
    new or differently defined.
    """

    campaign: str
    reach: int
    unknown: bool


class _Audience(Struct, frozen=True):
    """Audience of a campaign, and the traits with addresses, one of which a customer needs (None:
    a treatment needs no address)."""

    gates: tuple[Gate, ...]
    addresses: frozenset[str | None]

    def can_reach(self, facts: Facts) -> bool:
        """Return whether the campaign can reach a customer."""
        if not all(gate.condition.is_possible(facts) for gate in self.gates):
            return False
        return any(address is None or address in facts.traits for address in self.addresses)

    def reads(self, traits: Collection[str], segments: Collection[str]) -> bool:
        """Return whether the audience reads any of these traits or segments."""
        gate_reads = [gate.condition.reads for gate in self.gates]
        return any(
            not reads.traits.isdisjoint(traits) or not reads.segments.isdisjoint(segments)
            for reads in gate_reads
        )


class ReachCounter:
    """Counter of the customers that each campaign of a configuration can reach."""

    def __init__(self, config: Configuration) -> None:
        self._audiences = dict(sorted(_audiences(config)))
        self._counts: Counter[str] = Counter()

    def add(self, person: MemberProfile, change: MembershipChange) -> None:
        """Count a customer, as after the configuration's change."""
        members = frozenset(person.members).difference(change.exits).union(change.entries)
        facts = Facts(None, person.profile.traits, members, frozenset(), person.at)
        self._counts.update(
            name for name, audience in self._audiences.items() if audience.can_reach(facts)
        )

    def result(
        self, traits: Collection[str], segments: Collection[str]
    ) -> tuple[CampaignReach, ...]:
        """Return the reach of each campaign; the values of `traits` and the members of `segments`
        are not known yet."""
        return tuple(
            CampaignReach(name, self._counts[name], audience.reads(traits, segments))
            for name, audience in self._audiences.items()
        )


def _audiences(config: Configuration) -> Iterator[tuple[str, _Audience]]:
    entries_by_campaign: dict[str, list[Entry]] = {}
    for slot in (config.outbound_entries, *config.placement_entries.values()):
        for entry in slot:
            entries_by_campaign.setdefault(entry.campaign.name, []).append(entry)
    for name, entries in entries_by_campaign.items():
        gates = tuple(gate for gate in entries[0].campaign.gates if gate.label == AUDIENCE_LABEL)
        addresses = frozenset(
            None if candidate.address is None else address_trait(candidate.address)
            for entry in entries
            for candidate in entry.candidates
        )
        yield name, _Audience(gates, addresses)
