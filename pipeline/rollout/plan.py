"""Plan of a rollout: entries and exits of each segment.

Each profile is evaluated as of its latest record, so that the configuration in force changes
nothing.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from msgspec import Struct

from pipeline.conditions.tree import is_hidden
from pipeline.config.compile import Configuration
from pipeline.profile_reads.member_profiles import MemberProfile
from pipeline.rollout.affected import expected_change
from pipeline.rollout.reach import CampaignReach, ReachCounter
from pipeline.rollout.versions import Version, backfillable_keys


class SegmentPlan(Struct, frozen=True):
    """Numbers of members `now` and `after`, and of customers who `enter` and `leave`.

    `waits`: the segment reads interactions, so each profile's next interaction decides. `unknown`:
    it reads a trait that is new or differently defined, which profiles lack until the configuration
    is applied.
    """

    segment: str
    now: int
    after: int
    enter: int
    leave: int
    waits: bool
    unknown: bool


class RolloutPlan(Struct, frozen=True):
    """Effect of applying a configuration.

    `filled`: new or redefined traits that will be back-filled from the log; `counting_from_now`:
    new or redefined traits that cannot be back-filled. Segments that read such traits change once
    the traits are filled, and with each interaction.
    """

    digest: str
    changed: bool
    profiles: int
    segments: tuple[SegmentPlan, ...]
    filled: tuple[str, ...]
    counting_from_now: tuple[str, ...]
    campaigns: tuple[CampaignReach, ...] = ()

    def campaigns_without_reach(self) -> tuple[str, ...]:
        """Return the campaigns that can reach none of the profiles; none if there are no
        profiles."""
        campaigns = (
            campaign for campaign in self.campaigns if not campaign.unknown and not campaign.reach
        )
        return tuple(reach.campaign for reach in campaigns) if self.profiles else ()


def plan(
    people: Iterable[MemberProfile], versions: Sequence[Version], proposal: Configuration
) -> RolloutPlan:
    """Return the effect on `people` of applying `proposal` after `versions` (oldest first)."""
    current_config = versions[-1].config if versions else None
    new_traits, fillable_traits = _new_traits(versions, proposal)
    counts: Counter[tuple[str, str]] = Counter()
    reach = ReachCounter(proposal)
    profiles = 0
    for person in people:
        profiles += 1
        change = expected_change(person, proposal)
        reach.add(person, change)
        counts.update(("now", name) for name in person.members)
        counts.update(("enter", name) for name in change.entries)
        counts.update(("leave", name) for name in change.exits)
    traits = _changed_traits(current_config, proposal)
    unknown_segments = _segments_reading(traits, proposal)
    names = {name for _, name in counts} | {segment.name for segment in proposal.segments}
    return RolloutPlan(
        digest=proposal.digest,
        changed=current_config is None or current_config.digest != proposal.digest,
        profiles=profiles,
        segments=tuple(
            _segment_plan(name, counts, proposal, unknown=name in unknown_segments)
            for name in sorted(names)
        ),
        filled=tuple(sorted(new_traits & fillable_traits)),
        counting_from_now=tuple(sorted(new_traits - fillable_traits)),
        campaigns=reach.result(traits, unknown_segments),
    )


def _changed_traits(current_config: Configuration | None, proposal: Configuration) -> set[str]:
    """Return the declared traits that are new or redefined, and their buckets."""
    old_traits = () if current_config is None else current_config.bundle.profile.traits
    new_traits = {trait.name for trait in proposal.bundle.profile.traits if trait not in old_traits}
    return new_traits | frozenset(
        bucket.name for bucket in proposal.buckets if bucket.source_trait in new_traits
    )


def _segments_reading(traits: Iterable[str], config: Configuration) -> frozenset[str]:
    """Return the segments that read one of `traits`, or another segment that does."""
    index = config.segment_index
    mask = index.readers_of(traits)
    names: list[str] = []
    # A segment comes after those that it reads.
    for position, segment in enumerate(config.segments):
        if mask >> position & 1:
            mask |= index.dependents[position]
            names.append(segment.name)
    return frozenset(names)


def _segment_plan(
    name: str, counts: Counter[tuple[str, str]], proposal: Configuration, *, unknown: bool
) -> SegmentPlan:
    position = proposal.segment_index.positions.get(name)
    return SegmentPlan(
        segment=name,
        now=counts["now", name],
        after=counts["now", name] + counts["enter", name] - counts["leave", name],
        enter=counts["enter", name],
        leave=counts["leave", name],
        waits=position is not None
        and bool(proposal.segment_index.interaction_segments >> position & 1),
        unknown=unknown,
    )


def _new_traits(
    versions: Sequence[Version], proposal: Configuration
) -> tuple[frozenset[str], frozenset[str]]:
    """Return the declared traits with new aggregates, and those that the log has in full."""
    if not versions:
        return frozenset(), frozenset()
    next_versions = (*versions, Version(proposal, versions[-1].applied_at))
    new_keys = proposal.aggregates.by_key.keys() - versions[-1].keys
    fillable_keys = backfillable_keys(next_versions)
    new_keys_by_trait = {
        trait.name: new_keys.intersection(aggregate.key for aggregate in trait.aggregates)
        for trait in proposal.traits
        if not is_hidden(trait.name)
    }
    return (
        frozenset(name for name, keys in new_keys_by_trait.items() if keys),
        frozenset(name for name, keys in new_keys_by_trait.items() if keys <= fillable_keys),
    )
