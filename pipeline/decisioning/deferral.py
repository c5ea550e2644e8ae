"""Deferral: messages held back by quiet hours are decided again at their end, if the campaign
allows.

Nothing is reserved meanwhile, so no cap is used up and no promise made. The customer's facts as of
the last record are kept with the deferral; a timer of the row fires it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace as with_fields
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from pipeline.config.catalogs import template_name
from pipeline.config.compiled import CompiledCandidate, Entry
from pipeline.decisioning import quiet_hours
from pipeline.decisioning.arbitrate import CHOSEN, Arbitration
from pipeline.decisioning.holdouts import FilledSlots
from pipeline.decisioning.state import ContactState, Deferral, History
from pipeline.model.control import Control
from pipeline.model.decision import HELD_OUT_BY, Again, DeferredMessage
from pipeline.model.outcome import Wake
from pipeline.model.shards import Shards
from pipeline.model.stages import Segmented, SegmentSection

_QUIET: Final = "quiet hours "
_SPEAKS: Final = (CHOSEN, HELD_OUT_BY)
"""Beginnings of the fates of candidates that represent their campaign."""


class DueDeferral(Struct, frozen=True):
    """Deferral of a shard, to be decided again at `at` (ms)."""

    shard: str
    deferral: Deferral
    at: int

    def of(self, profile_id: str, config: str) -> "DueDeferral":
        """Return the deferral under the profile that has the shard now, and a configuration."""
        deferral = self.deferral
        identity = deferral.record.identity
        assert identity is not None
        identity = replace(identity, profile_id=profile_id, shard=self.shard, config=config)
        return replace(
            self, deferral=replace(deferral, record=replace(deferral.record, identity=identity))
        )


def deferred_messages(
    filled: FilledSlots, outbound: Iterable[Entry]
) -> tuple[DeferredMessage, ...]:
    """Return the messages to defer: held back by quiet hours, of campaigns that send nothing
    now."""
    held = {
        (candidate.campaign, template_name(candidate.treatment))
        for candidate in filled.candidates
        if candidate.fate.startswith(_QUIET)
    }
    if not held:
        return ()
    represented = {
        candidate.campaign for candidate in filled.candidates if candidate.fate.startswith(_SPEAKS)
    }
    return tuple(
        message
        for entry in outbound
        if entry.campaign.defers and entry.campaign.name not in represented
        for candidate in entry.candidates
        if (candidate.campaign, candidate.treatment) in held
        and (message := _message(candidate, filled.arbitration)) is not None
    )


def as_deferred(record: Segmented) -> Segmented:
    """Return the record without its request: no client waits for an answer any more."""
    interaction = record.interaction
    assert interaction is not None
    return replace(record, interaction=replace(interaction, request=None))


def by_time(whole: Deferral) -> tuple[Deferral, ...]:
    """Split a deferral into one for each time at which messages are decided again."""
    record = as_deferred(whole.record)
    return tuple(
        replace(
            whole,
            until=until,
            messages=tuple(message for message in whole.messages if message.until == until),
            record=record,
        )
        for until in sorted({message.until for message in whole.messages})
    )


def entries(messages: Sequence[DeferredMessage], outbound: Iterable[Entry]) -> tuple[Entry, ...]:
    """Return the candidates that were deferred, as they are configured now."""
    wanted = {(message.campaign, message.offer, message.treatment) for message in messages}
    result: list[Entry] = []
    for entry in outbound:
        chosen = tuple(candidate for candidate in entry.candidates if candidate.tie in wanted)
        if chosen:
            names = tuple(candidate.treatment for candidate in chosen)
            result.append(with_fields(entry, candidates=chosen, treatments=names))
    return tuple(result)


def as_input(deferral: Deferral) -> Again:
    """Return the part of a decision's record that describes its deferral."""
    segments = deferral.record.segments
    assert segments is not None
    return Again(
        deferral.first, deferral.since, deferral.messages, deferral.record.profile, segments
    )


def due(state: ContactState, timer: Control) -> list[DueDeferral]:
    """Return the deferrals that are due by the time of `timer`, by due time."""
    due_deferrals = [
        DueDeferral(shard, deferral, deferral.until if deferral.by_log else timer.at)
        for shard, deferral in every(state)
        if deferral.until <= timer.at
    ]
    return sorted(
        due_deferrals,
        key=lambda due_deferral: (due_deferral.deferral.until, due_deferral.deferral.first),
    )


def wake(state: ContactState) -> Wake | None:
    """Return the timer of the next deferral."""
    first = min(
        (deferral for _, deferral in every(state)),
        key=lambda deferral: deferral.until,
        default=None,
    )
    return None if first is None else Wake(first.until, first.by_log)


def has_deferrals(state: ContactState) -> bool:
    """Return whether anything is deferred."""
    return any(part.deferred for part in state.shards.here.values())


def refresh(state: ContactState, record: Segmented) -> ContactState:
    """Return the state with the customer's facts from `record` in all deferrals.

    A segment that was entered, and that the customer has left since, counts as not entered.
    """
    segments = record.segments
    if segments is None or not has_deferrals(state):
        return state
    members = frozenset(segments.members)

    def newest(deferral: Deferral) -> Deferral:
        before = deferral.record.segments
        entered = () if before is None else tuple(x for x in before.entered if x in members)
        now = SegmentSection(segments.members, entered, ())
        return replace(
            deferral, record=replace(deferral.record, profile=record.profile, segments=now)
        )

    return _map(state, lambda part: tuple(newest(deferral) for deferral in part.deferred))


def drop(state: ContactState, dropped: Deferral) -> ContactState:
    """Return the state without a deferral."""
    key = (dropped.first, dropped.until)
    return _map(
        state,
        lambda part: tuple(
            deferral for deferral in part.deferred if (deferral.first, deferral.until) != key
        ),
    )


def drop_campaigns(state: ContactState, messages: Iterable[DeferredMessage]) -> ContactState:
    """Return the state without deferred messages of the campaigns of `messages`: the newest
    interaction decides for a campaign."""
    campaigns = {message.campaign for message in messages}
    return (
        drop_messages(state, lambda _, message: message.campaign in campaigns)
        if campaigns
        else state
    )


def drop_identifier(state: ContactState, identifier: str | None) -> ContactState:
    """Return the state without deferrals from interactions of a forgotten identifier."""

    def names(deferral: Deferral) -> bool:
        interaction = deferral.record.interaction
        return interaction is not None and any(
            shown.key == identifier for shown in interaction.identifiers
        )

    return _map(
        state, lambda part: tuple(deferral for deferral in part.deferred if not names(deferral))
    )


def drop_messages(
    state: ContactState, is_dropped: Callable[[Deferral, DeferredMessage], bool]
) -> ContactState:
    """Return the state without the messages for which `is_dropped` holds, and without deferrals
    that have none left."""

    def without_dropped(deferral: Deferral) -> Deferral:
        return replace(
            deferral,
            messages=tuple(
                message for message in deferral.messages if not is_dropped(deferral, message)
            ),
        )

    return _map(
        state,
        lambda part: tuple(
            deferral for deferral in map(without_dropped, part.deferred) if deferral.messages
        ),
    )


def every(state: ContactState) -> Iterator[tuple[str, Deferral]]:
    """Yield all deferrals, each with its shard."""
    for shard, part in state.shards.here.items():
        for deferral in part.deferred:
            yield shard, deferral


def _message(candidate: CompiledCandidate, arbitration: Arbitration) -> DeferredMessage | None:
    """Return the message as deferred; None where it would be too late then."""
    facts = arbitration.moment.facts
    rule = quiet_hours.find_quiet(
        candidate, arbitration.rules.config.constraints.quiet_hours, facts
    )
    if rule is None:
        return None
    until, deadline_at = (
        quiet_hours.ends_at(rule, facts),
        arbitration.moment.since_ms + candidate.deadline_ms,
    )
    if until >= deadline_at:
        return None
    return DeferredMessage(
        campaign=candidate.campaign,
        offer=candidate.offer,
        treatment=candidate.treatment,
        channel=candidate.channel,
        purpose=candidate.purpose,
        until=until,
        deadline_at=deadline_at,
        issue=candidate.issue,
        group=candidate.group,
    )


def _map(state: ContactState, change: Callable[[History], tuple[Deferral, ...]]) -> ContactState:
    if not has_deferrals(state):
        return state
    here = {
        name: replace(part, deferred=change(part)) if part.deferred else part
        for name, part in state.shards.here.items()
    }
    return replace(state, shards=Shards(here, state.shards.away))
