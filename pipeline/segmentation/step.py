"""Segmentation stage: one row per profile; publishes entries and exits with their cause.

Enrichment sends a `timer` control for each moment at which time alone may change a segment. Such a
change becomes an interaction of kind `timer` that occurred at that moment.
"""

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from pipeline.model import topics
from pipeline.model.control import Control
from pipeline.model.ids import timer_id
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.outcome import DeadLetter, Emit, Forward, Ok, Outcome, RowTransition
from pipeline.model.profile import Memberships, SegmentChange
from pipeline.model.stages import (
    Enriched,
    IdentitySection,
    ProfileSection,
    Segmented,
    SegmentSection,
)
from pipeline.rules import Rules
from pipeline.segmentation.evaluate import MembershipChange, on_change, on_interaction
from pipeline.segmentation.state import MembershipState

TIMER_NAME = "Time Passed"
"""Name of interactions that time alone causes; their channel and source are `timer`."""


class _Cause(Struct, frozen=True):
    """Cause of a change: an id, a description, and its time (ms)."""

    id: str
    reason: str
    at: int


class _Moment(Struct, frozen=True):
    """Moment at which a timer fell due.

    `event_id`: of the interaction that a change at that moment becomes; `noticed_at` (ms): when the
    timer fired; `profile`: the traits as they were at `at` (ms).
    """

    event_id: str
    at: int
    noticed_at: int
    profile: ProfileSection


def step(
    key: str, record: Enriched, state: MembershipState | None, rules: Rules
) -> Outcome[MembershipState]:
    """Evaluate the segments of the profile `key` by `record`; `state`: its row, None for a new
    one."""
    row = state or MembershipState()
    control = record.control
    if control is not None:
        return _apply_control(key, record, control, row, rules)
    interaction, identity, profile = record.interaction, record.identity, record.profile
    if interaction is None or identity is None or profile is None:
        return DeadLetter("empty-record", "neither an enriched interaction nor a control")
    now_ms = max(row.at, interaction.received_at)
    change = on_interaction(row, profile, interaction, rules.config)
    cause = _Cause(interaction.event_id, interaction.name, now_ms)
    transition = _apply_change(key, row, change, cause, rules)
    row = _mark_evaluated(replace(transition.row, identity=identity), profile, now_ms, rules)
    segmented = Segmented(
        interaction=interaction,
        identity=identity,
        profile=profile,
        segments=_segment_section(row, change),
    )
    return _outcome(RowTransition(row, (Emit(topics.SEGMENTED, key, segmented), *transition.emits)))


def _apply_control(
    key: str, record: Enriched, control: Control, row: MembershipState, rules: Rules
) -> Outcome[MembershipState]:
    output = Emit(topics.SEGMENTED, key, Segmented(control=control))
    if control.kind in ("probe", "clock"):
        return Forward((output,))
    control = replace(control, at=max(row.at, control.at))
    if control.kind == "forget":
        return Ok(None, _refresh(key, row, None, control, rules).emits)
    if control.kind == "timer":
        if record.profile is None:
            return DeadLetter("empty-record", "profile: a timer must have the traits of its moment")
        return _outcome(_apply_timer(key, row, record.profile, control, rules))
    if control.kind == "refresh":
        return _outcome(_refresh(key, row, record.profile, control, rules))
    return _outcome(RowTransition(row, (output,)))


def _apply_timer(
    key: str,
    row: MembershipState,
    profile: ProfileSection,
    timer: Control,
    rules: Rules,
) -> RowTransition[MembershipState]:
    """Evaluate the segments as of the moment when enrichment's timer fell due."""
    due_at = timer.at if timer.due_at is None else max(row.at, timer.due_at)
    change = on_change(row, profile.traits, due_at, rules.config)
    moment = _Moment(timer_id(key, due_at, timer.control_id), due_at, timer.at, profile)
    transition = _apply_change_by_time(key, row, change, moment, rules)
    return RowTransition(_mark_evaluated(transition.row, profile, due_at, rules), transition.emits)


def _apply_change_by_time(
    key: str, row: MembershipState, change: MembershipChange, moment: _Moment, rules: Rules
) -> RowTransition[MembershipState]:
    """Apply a change by time alone; publish it as an interaction to be decided like any other."""
    if row.identity is None or not row.identity.root or not change:
        return RowTransition(row)
    interaction = Interaction(
        event_id=moment.event_id,
        kind="timer",
        name=TIMER_NAME,
        channel="timer",
        source="timer",
        occurred_at=moment.at,
        received_at=moment.noticed_at,
        identifiers=(Identifier.parse(row.identity.root),),
    )
    cause = _Cause(moment.event_id, "time passed", moment.at)
    identity = replace(row.identity, config=rules.config.digest)
    transition = _apply_change(key, row, change, cause, rules)
    segmented = Segmented(
        interaction=interaction,
        identity=identity,
        profile=moment.profile,
        segments=_segment_section(transition.row, change),
    )
    emits = (Emit(topics.SEGMENTED, key, segmented), *transition.emits)
    return RowTransition(transition.row, emits)


def _refresh(
    key: str,
    row: MembershipState,
    profile: ProfileSection | None,
    refresh: Control,
    rules: Rules,
) -> RowTransition[MembershipState]:
    """Evaluate the segments without an interaction; `profile` None: the profile ends, and leaves
    all segments."""
    if profile is None:
        change = MembershipChange((), tuple(row.members))
    else:
        change = on_change(row, profile.traits, refresh.at, rules.config)
    segmented = Segmented(control=refresh, profile=profile, segments=_segment_section(row, change))
    reason = "forgotten" if refresh.kind == "forget" else "profile or configuration changed"
    cause = _Cause(refresh.control_id, reason, refresh.at)
    transition = _apply_change(key, row, change, cause, rules)
    emits = (Emit(topics.SEGMENTED, key, segmented), *transition.emits)
    if profile is None:
        return RowTransition(MembershipState(), (*emits, Emit(topics.MEMBERSHIPS, key, None)))
    row = replace(transition.row, identity=_identity_of(key, refresh) or row.identity)
    return RowTransition(_mark_evaluated(row, profile, refresh.at, rules), emits)


def _identity_of(key: str, refresh: Control) -> IdentitySection | None:
    """Return the identity that a refresh carries for a profile without interactions, if any."""
    if refresh.shard is None or refresh.to_root is None:
        return None
    return IdentitySection(key, refresh.to_root, refresh.shard, refresh.version, refresh.config)


def _apply_change(
    key: str, row: MembershipState, change: MembershipChange, cause: _Cause, rules: Rules
) -> RowTransition[MembershipState]:
    """Update the members; publish a record per entry and exit, and the snapshot of memberships."""
    if not change:
        return RowTransition(row)
    members = dict(row.members)
    for name in change.exits:
        del members[name]
    if change.entries:
        members.update(dict.fromkeys(change.entries, cause.at))
        members = dict(sorted(members.items()))
    changes: list[tuple[str, Literal["entered", "exited"]]] = [
        *((name, "exited") for name in change.exits),
        *((name, "entered") for name in change.entries),
    ]
    digest = rules.config.digest
    emits = [
        Emit(
            topics.SEGMENT_CHANGES,
            key,
            SegmentChange(key, name, direction, cause.reason, cause.at, cause.id, digest),
        )
        for name, direction in changes
    ]
    emits.append(Emit(topics.MEMBERSHIPS, key, Memberships(key, members, cause.at, digest)))
    return RowTransition(replace(row, members=members), tuple(emits))


def _mark_evaluated(
    row: MembershipState, profile: ProfileSection, now_ms: int, rules: Rules
) -> MembershipState:
    """Return the row as evaluated at `now_ms` by the profile's traits and the configuration."""
    return replace(row, traits=profile.traits, config=rules.config.digest, at=now_ms)


def _outcome(transition: RowTransition[MembershipState]) -> Ok[MembershipState]:
    """Return the outcome; a row without identity and members is not stored."""
    row = transition.row
    is_empty = row.identity is None and not row.members
    return Ok(None if is_empty else row, transition.emits)


def _segment_section(row: MembershipState, change: MembershipChange) -> SegmentSection:
    """Return the section of a row that `change` has led to."""
    return SegmentSection(tuple(row.members), change.entries, change.exits)
