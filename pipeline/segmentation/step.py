"""The segmentation stage: one row per profile; entries and exits are told with their cause."""

from typing import Literal

from pipeline.model import topics
from pipeline.model.control import Control
from pipeline.model.outcome import DeadLetter, Emit, Forward, Ok, Outcome
from pipeline.model.profile import Memberships, SegmentChange
from pipeline.model.stages import Enriched, Segmented, SegmentSection
from pipeline.rules import Rules
from pipeline.segmentation.evaluate import Change, evaluate
from pipeline.segmentation.state import MembershipState


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
    now_ms = interaction.received_at
    change = evaluate(frozenset(row.members), profile.traits, interaction, now_ms, rules.config)
    onward = Segmented(
        interaction=interaction, identity=identity, profile=profile, segments=_section(change)
    )
    row, news = _changed(
        key, row, change, _Cause(interaction.event_id, interaction.name, now_ms), rules
    )
    return Ok(row, (Emit(topics.SEGMENTED, key, onward), *news))


def _control(
    key: str, record: Enriched, control: Control, row: MembershipState, rules: Rules
) -> Outcome[MembershipState]:
    """A refresh is evaluated; what is left of a profile that moved away belongs to no segment."""
    onward = Emit(topics.SEGMENTED, key, Segmented(control=control))
    if control.kind == "probe":
        return Forward((onward,))
    if control.kind != "refresh":
        return Ok(row if row.members else None, (onward,))
    before = frozenset(row.members)
    if record.profile is None:
        change = Change(before, frozenset())
    else:
        change = evaluate(before, record.profile.traits, None, control.at, rules.config)
    evaluated = Segmented(control=control, profile=record.profile, segments=_section(change))
    cause = _Cause(control.control_id, "profile merged", control.at)
    row, news = _changed(key, row, change, cause, rules)
    return Ok(row if row.members else None, (Emit(topics.SEGMENTED, key, evaluated), *news))


class _Cause:
    """What brought a change: an id, words for it, and its time (ms)."""

    def __init__(self, id: str, why: str, at: int) -> None:
        self.id, self.why, self.at = id, why, at


def _changed(
    key: str, row: MembershipState, change: Change, cause: _Cause, rules: Rules
) -> tuple[MembershipState, tuple[Emit, ...]]:
    """The row after the change, one record per entry and exit, and a snapshot when any."""
    if change.before == change.after:
        return row, ()
    members = {name: row.members.get(name, cause.at) for name in sorted(change.after)}
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
    snapshot = Memberships(key, members, cause.at, digest) if members else None
    emits.append(Emit(topics.MEMBERSHIPS, key, snapshot))
    return MembershipState(members), tuple(emits)


def _section(change: Change) -> SegmentSection:
    return SegmentSection(tuple(sorted(change.after)), change.entered, change.exited)
