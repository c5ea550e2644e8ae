"""Profiles that a configuration affects: only these are sent through the stages for it.

A profile's snapshot names the configuration of its last evaluation. If the newest one computes the
same traits, and leaves the profile in the same segments with no earlier moment at which time alone
may change them, evaluating it in the stages would change nothing.
"""

from collections.abc import Sequence

from pipeline.config.compile import Configuration
from pipeline.profile_reads.member_profiles import MemberProfile
from pipeline.rollout.versions import Version
from pipeline.segmentation.evaluate import MembershipChange, on_change
from pipeline.segmentation.state import MembershipState


class AffectedProfiles:
    """Test for profiles that the newest of `versions` affects, once it is in force everywhere."""

    def __init__(self, versions: Sequence[Version]) -> None:
        self._newest_config = versions[-1].config
        self._by_digest = {version.config.digest: version.config for version in versions}
        self._same_traits_by_digest: dict[str, bool] = {}

    def has(self, person: MemberProfile) -> bool:
        """Return whether the stages must evaluate the profile."""
        digest = person.profile.config
        old_config = self._by_digest.get(digest)
        if old_config is None:
            return True
        if digest not in self._same_traits_by_digest:
            self._same_traits_by_digest[digest] = _trait_rules(old_config) == _trait_rules(
                self._newest_config
            )
        if not self._same_traits_by_digest[digest]:
            return True
        if old_config.bundle.segments == self._newest_config.bundle.segments:
            return False
        return bool(expected_change(person, self._newest_config)) or self._flips_earlier(
            person, old_config
        )

    def _flips_earlier(self, person: MemberProfile, old_config: Configuration) -> bool:
        """Return whether the profile's present timer may come too late for its segments."""
        traits, updated_at = person.profile.traits, person.profile.updated_at
        flip = self._newest_config.segment_index.next_flip(traits, updated_at)
        armed_flip = old_config.segment_index.next_flip(traits, updated_at)
        return flip is not None and (armed_flip is None or flip < armed_flip)


def expected_change(person: MemberProfile, proposal: Configuration) -> MembershipChange:
    """Return the changes from evaluating a profile's latest record by `proposal`."""
    traits = person.profile.traits
    section = {name: traits[name] for name in proposal.read_traits if name in traits}
    return on_change(MembershipState(person.members), section, person.at, proposal)


def _trait_rules(config: Configuration) -> tuple[object, ...]:
    """Return the parts of a configuration that determine traits: their computation, transport and
    timers."""
    traits = tuple(
        (trait.name, trait.is_timed, tuple(aggregate.key for aggregate in trait.aggregates))
        for trait in config.traits
    )
    buckets = tuple(
        (bucket.name, bucket.source_trait, bucket.thresholds, bucket.is_timed)
        for bucket in config.buckets
    )
    sequences = tuple(sequence.name for sequence in config.sequences)
    bundle = config.bundle
    return (bundle.identity, bundle.profile, traits, buckets, sequences, config.read_traits)
