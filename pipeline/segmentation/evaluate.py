"""Incremental evaluation: only segments that read a changed input are evaluated."""

from collections.abc import Mapping

from msgspec import Struct

from pipeline.conditions import Facts
from pipeline.config.compile import Configuration
from pipeline.config.compiled import CompiledSegment
from pipeline.model.interaction import FactValue, Interaction
from pipeline.model.stages import ProfileSection
from pipeline.segmentation.state import MembershipState


class MembershipChange(Struct, frozen=True):
    """Names of the segments that the profile enters and exits, sorted."""

    entries: tuple[str, ...]
    exits: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.entries or self.exits)


def on_interaction(
    row: MembershipState,
    profile: ProfileSection,
    interaction: Interaction,
    config: Configuration,
) -> MembershipChange:
    """Return the change caused by `interaction`, after which the profile is `profile`.

    A late interaction is evaluated at the profile's present time, which never decreases.
    """
    traits = profile.traits
    index = config.segment_index
    allowed_mask = index.segments_evaluated_by(interaction)
    mask = index.all_segments
    if row.config == config.digest:
        mask = index.segments_affected_by(interaction, row.members) | index.readers_of(
            _changed_traits(row.traits, traits)
        )
    now_ms = max(row.at, interaction.received_at)
    facts = Facts(interaction, traits, set(row.members), _NO_ENTRIES, now_ms, profile.derived)
    return _evaluate(row, facts, mask, allowed_mask, config)


def on_change(
    row: MembershipState, traits: Mapping[str, FactValue], at: int, config: Configuration
) -> MembershipChange:
    """Return the change caused by time, a merge or a configuration, after which the traits are
    `traits` at `at` (ms).

    Segments whose condition is unknown without an interaction stay as they were.
    """
    index = config.segment_index
    mask = index.all_segments
    if row.config == config.digest:
        mask = index.readers_of(_changed_traits(row.traits, traits)) | index.segments_flipping_at(
            traits, at
        )
    facts = Facts(None, traits, set(row.members), _NO_ENTRIES, at)
    return _evaluate(row, facts, mask, index.all_segments, config)


_NO_ENTRIES: frozenset[str] = frozenset()


def _evaluate(
    row: MembershipState, facts: Facts, mask: int, allowed_mask: int, config: Configuration
) -> MembershipChange:
    """Evaluate, in dependency order, the segments of `mask` and those that read a changed one."""
    index = config.segment_index
    mask &= allowed_mask
    members = facts.segments
    assert isinstance(members, set)
    entries: list[str] = []
    exits: list[str] = []
    if row.config != config.digest:
        exits += (name for name in row.members if name not in index.positions)
        members.difference_update(exits)
    while mask:
        lowest_bit = mask & -mask
        mask ^= lowest_bit
        position = lowest_bit.bit_length() - 1
        segment = config.segments[position]
        name = segment.name
        is_member = name in members
        holds = _holds(segment, facts, is_member)
        if holds is is_member:
            continue
        mask |= index.dependents[position] & allowed_mask
        if holds:
            members.add(name)
            entries.append(name)
        else:
            members.discard(name)
            exits.append(name)
    return MembershipChange(tuple(sorted(entries)), tuple(sorted(exits)))


def _holds(segment: CompiledSegment, facts: Facts, is_member: bool) -> bool:
    """Return whether the segment holds now; if that is unknown, it stays as it was."""
    if facts.interaction is not None:
        return segment.test(facts)
    return (
        segment.condition.is_possible(facts) if is_member else segment.condition.is_certain(facts)
    )


def _changed_traits(
    old_traits: Mapping[str, FactValue], new_traits: Mapping[str, FactValue]
) -> list[str]:
    """Return the names of traits that differ; true is not 1."""
    names = [name for name in old_traits if name not in new_traits]
    for name, value in new_traits.items():
        former_value = old_traits.get(name)
        if former_value is not value and (
            former_value != value or former_value.__class__ is not value.__class__
        ):
            names.append(name)
    return names
