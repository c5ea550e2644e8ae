"""The segmentation stage: one row per profile; entries and exits are told with their cause.

What time alone changes is told by enrichment, a `timer` for each moment at which something may
change; what does change becomes an interaction of kind `timer` that occurred at that moment.
"""

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from pipeline.model import topics
from pipeline.model.control import Control
from pipeline.model.ids import timer_id
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.outcome import DeadLetter, Emit, Forward, Ok, Outcome
from pipeline.model.profile import Memberships, SegmentChange
from pipeline.model.stages import (
    Enriched,
    IdentitySection,
    ProfileSection,
    Segmented,
    SegmentSection,
)
from pipeline.rules import Rules
from pipeline.segmentation.evaluate import Change, on_change, on_interaction
from pipeline.segmentation.state import MembershipState

TIMER_NAME = "Time Passed"
"""The name of the interactions that time alone causes, with channel and source `timer`."""

_Emits = tuple[Emit, ...]


def step(
    key: str, record: Enriched, state: MembershipState | None, rules: Rules
) -> Outcome[MembershipState]:
    """`key` is the profile id; the state is that profile's row, or None at first sight."""
    row = state or MembershipState()
    control = record.control
    if control is not None:
        return _control(key, record, control, row, rules)
    interaction, identity, profile = record.interaction, record.identity, record.profile
    if interaction is None or identity is None or profile is None:
        return DeadLetter("empty-record", "neither an enriched interaction nor a control")
    now_ms = max(row.at, interaction.received_at)
    change = on_interaction(row, profile, interaction, rules.config)
    cause = _Cause(interaction.event_id, interaction.name, now_ms)
    row, news = _changed(key, row, change, cause, rules)
    row = _seen(replace(row, identity=identity), profile, now_ms, rules)
    onward = Segmented(
        interaction=interaction, identity=identity, profile=profile, segments=_section(row, change)
    )
    return _kept(row, (Emit(topics.SEGMENTED, key, onward), *news))


def _control(
    key: str, record: Enriched, control: Control, row: MembershipState, rules: Rules
) -> Outcome[MembershipState]:
    onward = Emit(topics.SEGMENTED, key, Segmented(control=control))
    if control.kind in ("probe", "clock"):
        return Forward((onward,))
    control = replace(control, at=max(row.at, control.at))
    if control.kind == "forget":
        return Ok(None, _refreshed(key, row, None, control, rules)[1])
    if control.kind == "timer":
        if record.profile is None:
            return DeadLetter("empty-record", "profile: a timer must have the traits of its moment")
        return _kept(*_time_passed(key, row, record.profile, control, rules))
    if control.kind == "refresh":
        return _kept(*_refreshed(key, row, record.profile, control, rules))
    return _kept(row, (onward,))


def _time_passed(
    key: str,
    row: MembershipState,
    profile: ProfileSection,
    timer: Control,
    rules: Rules,
) -> tuple[MembershipState, _Emits]:
    """Evaluate at the moment when enrichment's timer fell due, by the traits as they were then."""
    due = timer.at if timer.due_at is None else max(row.at, timer.due_at)
    change = on_change(row, profile.traits, due, rules.config)
    occurred = _Moment(timer_id(key, due, timer.control_id), due, timer.at)
    row, news = _told(key, row, change, (occurred, profile), rules)
    return _seen(row, profile, due, rules), news


def _refreshed(
    key: str,
    row: MembershipState,
    profile: ProfileSection | None,
    refresh: Control,
    rules: Rules,
) -> tuple[MembershipState, _Emits]:
    """What is left of a profile that moved away belongs to no segment."""
    if profile is None:
        change = Change((), tuple(row.members))
    else:
        change = on_change(row, profile.traits, refresh.at, rules.config)
    evaluated = Segmented(control=refresh, profile=profile, segments=_section(row, change))
    why = "forgotten" if refresh.kind == "forget" else "profile or configuration changed"
    cause = _Cause(refresh.control_id, why, refresh.at)
    row, news = _changed(key, row, change, cause, rules)
    emits = (Emit(topics.SEGMENTED, key, evaluated), *news)
    if profile is None:
        return MembershipState(), (*emits, Emit(topics.MEMBERSHIPS, key, None))
    row = replace(row, identity=_identity(key, refresh) or row.identity)
    return _seen(row, profile, refresh.at, rules), emits


def _identity(key: str, refresh: Control) -> IdentitySection | None:
    """Who a profile is of which no interaction has come yet; None: the refresh does not say."""
    if refresh.shard is None or refresh.to_root is None:
        return None
    return IdentitySection(key, refresh.to_root, refresh.shard, refresh.version, refresh.config)


class _Moment(Struct, frozen=True):
    """A timer's event id, when it fell due, and when that was noticed (ms)."""

    event_id: str
    at: int
    noticed_at: int


def _told(
    key: str,
    row: MembershipState,
    change: Change,
    timer: tuple[_Moment, ProfileSection],
    rules: Rules,
) -> tuple[MembershipState, _Emits]:
    """A change by time alone, as an interaction that is decided like any other."""
    moment, profile = timer
    if row.identity is None or not row.identity.root or not change:
        return row, ()
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
    row, news = _changed(key, row, change, cause, rules)
    onward = Segmented(
        interaction=interaction,
        identity=identity,
        profile=profile,
        segments=_section(row, change),
    )
    return row, (Emit(topics.SEGMENTED, key, onward), *news)


class _Cause(Struct, frozen=True):
    """What brought a change: an id, words for it, and its time (ms)."""

    id: str
    why: str
    at: int


def _changed(
    key: str, row: MembershipState, change: Change, cause: _Cause, rules: Rules
) -> tuple[MembershipState, _Emits]:
    """The row after the change, one record per entry and exit, and a snapshot when any."""
    if not change:
        return row, ()
    members = dict(row.members)
    for name in change.exited:
        del members[name]
    if change.entered:
        members.update(dict.fromkeys(change.entered, cause.at))
        members = dict(sorted(members.items()))
    changes: list[tuple[str, Literal["entered", "exited"]]] = [
        *((name, "exited") for name in change.exited),
        *((name, "entered") for name in change.entered),
    ]
    digest = rules.config.digest
    emits = [
        Emit(
            topics.SEGMENT_CHANGES,
            key,
            SegmentChange(key, name, what, cause.why, cause.at, cause.id, digest),
        )
        for name, what in changes
    ]
    emits.append(Emit(topics.MEMBERSHIPS, key, Memberships(key, members, cause.at, digest)))
    return replace(row, members=members), tuple(emits)


def _seen(
    row: MembershipState, profile: ProfileSection, now_ms: int, rules: Rules
) -> MembershipState:
    """The row as evaluated at `now_ms`."""
    return replace(row, traits=profile.traits, config=rules.config.digest, at=now_ms)


def _kept(row: MembershipState, emits: _Emits) -> Ok[MembershipState]:
    if row.identity is None and not row.members:
        return Ok(None, emits)
    return Ok(row, emits)


def _section(row: MembershipState, change: Change) -> SegmentSection:
    """After `change`, which the row has undergone."""
    return SegmentSection(tuple(row.members), change.entered, change.exited)
