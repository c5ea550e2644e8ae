"""Which segments hold now: only those are evaluated that something they read can have changed."""

from collections.abc import Mapping

from msgspec import Struct

from pipeline.conditions import Facts
from pipeline.config.compile import Configuration
from pipeline.config.compiled import Segment
from pipeline.model.interaction import Interaction, Known
from pipeline.model.stages import ProfileSection
from pipeline.segmentation.state import MembershipState


class Change(Struct, frozen=True):
    """The segments that began and ceased to hold, sorted."""

    entered: tuple[str, ...]
    exited: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.entered or self.exited)


def on_interaction(
    row: MembershipState,
    profile: ProfileSection,
    interaction: Interaction,
    config: Configuration,
) -> Change:
    """After `interaction`, which left the profile like that. A late one does not turn the
    profile's time back."""
    traits = profile.traits
    index = config.segment_index
    allowed = index.allowed(interaction)
    mask = index.everything
    if row.config == config.digest:
        mask = index.touched(interaction, row.members) | index.reading(_changed(row.traits, traits))
    now_ms = max(row.at, interaction.received_at)
    facts = Facts(interaction, traits, set(row.members), _NONE, now_ms, profile.derived)
    return _evaluate(row, facts, (mask, allowed), config)


def on_change(
    row: MembershipState, traits: Mapping[str, Known], at: int, config: Configuration
) -> Change:
    """After something else left the profile with `traits` at `at` (ms). Segments change as far as
    their conditions are decided without an interaction, and otherwise stay as they were."""
    index = config.segment_index
    mask = index.everything
    if row.config == config.digest:
        mask = index.reading(_changed(row.traits, traits)) | index.flipping(traits, at)
    facts = Facts(None, traits, set(row.members), _NONE, at)
    return _evaluate(row, facts, (mask, index.everything), config)


_NONE: frozenset[str] = frozenset()


def _evaluate(
    row: MembershipState, facts: Facts, masks: tuple[int, int], config: Configuration
) -> Change:
    """Segments in dependency order; one that changes brings in those that read it."""
    index = config.segment_index
    mask, allowed = masks
    mask &= allowed
    members = facts.segments
    assert isinstance(members, set)
    entered: list[str] = []
    exited: list[str] = []
    if row.config != config.digest:
        exited += (name for name in row.members if name not in index.positions)
        members.difference_update(exited)
    while mask:
        low = mask & -mask
        mask ^= low
        position = low.bit_length() - 1
        segment = config.segments[position]
        name = segment.name
        was = name in members
        holds = _holds(segment, facts, was)
        if holds is was:
            continue
        mask |= index.dependents[position] & allowed
        if holds:
            members.add(name)
            entered.append(name)
        else:
            members.discard(name)
            exited.append(name)
    return Change(tuple(sorted(entered)), tuple(sorted(exited)))


def _holds(segment: Segment, facts: Facts, was: bool) -> bool:
    """Without an interaction, only what is certain changes what `was`."""
    if facts.interaction is not None:
        return segment.test(facts)
    return segment.when.possibly(facts) if was else segment.when.surely(facts)


def _changed(before: Mapping[str, Known], after: Mapping[str, Known]) -> list[str]:
    """The traits that differ; true is not 1."""
    changed = [name for name in before if name not in after]
    for name, value in after.items():
        known = before.get(name)
        if known is not value and (known != value or known.__class__ is not value.__class__):
            changed.append(name)
    return changed
