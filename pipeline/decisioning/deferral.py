"""Deferral: messages held back by quiet hours are decided again at the end of those hours, if
the campaign allows.

Nothing is reserved meanwhile, so no cap is used up and no budget spent. The deferral has the
customer's facts as of the last record; a timer of the row fires at its end.
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
from pipeline.model.decision import HELD_OUT_BY, DeferralInput, DeferredMessage
from pipeline.model.outcome import Wake
from pipeline.model.shards import Shards
from pipeline.model.stages import Segmented, SegmentSection

_QUIET: Final = "quiet hours "
_REPRESENTATIVE_FATES: Final = (CHOSEN, HELD_OUT_BY)
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
    filled_slots: FilledSlots, outbound: Iterable[Entry]
) -> tuple[DeferredMessage, ...]:
    """Return the messages to defer: those held back by quiet hours, of campaigns that send nothing
    now."""
    quiet_treatments = {
        (candidate.campaign, template_name(candidate.treatment))
        for candidate in filled_slots.candidates
        if candidate.fate.startswith(_QUIET)
    }
    if not quiet_treatments:
        return ()
    campaigns = {
        candidate.campaign
        for candidate in filled_slots.candidates
        if candidate.fate.startswith(_REPRESENTATIVE_FATES)
    }
    return tuple(
        message
        for entry in outbound
        if entry.campaign.defers and entry.campaign.name not in campaigns
        for candidate in entry.candidates
        if (candidate.campaign, candidate.treatment) in quiet_treatments
        and (message := _message(candidate, filled_slots.arbitration)) is not None
    )


def drop_request(record: Segmented) -> Segmented:
    """Return the record without its request: no client waits for an answer any more."""
    interaction = record.interaction
    assert interaction is not None
    return replace(record, interaction=replace(interaction, request=None))


def split_by_time(deferral: Deferral) -> tuple[Deferral, ...]:
    """Split a deferral into one for each time at which messages are decided again."""
    record = drop_request(deferral.record)
    return tuple(
        replace(
            deferral,
            until=until,
            messages=tuple(message for message in deferral.messages if message.until == until),
            record=record,
        )
        for until in sorted({message.until for message in deferral.messages})
    )


def entries(messages: Sequence[DeferredMessage], outbound: Iterable[Entry]) -> tuple[Entry, ...]:
    """Return the candidates that were deferred, as they are configured now."""
    ties = {(message.campaign, message.offer, message.treatment) for message in messages}
    result: list[Entry] = []
    for entry in outbound:
        candidates = tuple(candidate for candidate in entry.candidates if candidate.tie in ties)
        if candidates:
            names = tuple(candidate.treatment for candidate in candidates)
            result.append(with_fields(entry, candidates=candidates, treatments=names))
    return tuple(result)


def deferral_input(deferral: Deferral) -> DeferralInput:
    """Return the input that a second decision takes from its deferral, as it is recorded."""
    segments = deferral.record.segments
    assert segments is not None
    return DeferralInput(
        deferral.first, deferral.since, deferral.messages, deferral.record.profile, segments
    )


def due_deferrals(state: ContactState, timer: Control) -> list[DueDeferral]:
    """Return the deferrals that are due by the time of `timer`, by due time."""
    result = [
        DueDeferral(shard, deferral, deferral.until if deferral.by_log else timer.at)
        for shard, deferral in all_deferrals(state)
        if deferral.until <= timer.at
    ]
    return sorted(
        result, key=lambda due_deferral: (due_deferral.deferral.until, due_deferral.deferral.first)
    )


def next_wake(state: ContactState) -> Wake | None:
    """Return the timer of the next deferral."""
    next_deferral = min(
        (deferral for _, deferral in all_deferrals(state)),
        key=lambda deferral: deferral.until,
        default=None,
    )
    return None if next_deferral is None else Wake(next_deferral.until, next_deferral.by_log)


def has_deferrals(state: ContactState) -> bool:
    """Return whether any message is deferred."""
    return any(part.deferred for part in state.shards.here.values())


def refresh(state: ContactState, record: Segmented) -> ContactState:
    """Return the state with the customer's facts from `record` in all deferrals.

    A segment that was entered, and that the customer has left since, counts as not entered.
    """
    segments = record.segments
    if segments is None or not has_deferrals(state):
        return state
    members = frozenset(segments.members)

    def update_facts(deferral: Deferral) -> Deferral:
        former_segments = deferral.record.segments
        entered_segments = (
            ()
            if former_segments is None
            else tuple(name for name in former_segments.entered if name in members)
        )
        current_segments = SegmentSection(segments.members, entered_segments, ())
        return replace(
            deferral,
            record=replace(deferral.record, profile=record.profile, segments=current_segments),
        )

    return _map_deferrals(
        state, lambda part: tuple(update_facts(deferral) for deferral in part.deferred)
    )


def drop(state: ContactState, target: Deferral) -> ContactState:
    """Return the state without a deferral."""
    key = (target.first, target.until)
    return _map_deferrals(
        state,
        lambda part: tuple(
            deferral for deferral in part.deferred if (deferral.first, deferral.until) != key
        ),
    )


def drop_campaigns(state: ContactState, messages: Iterable[DeferredMessage]) -> ContactState:
    """Return the state without deferred messages of the campaigns of `messages`: the latest
    interaction decides for a campaign."""
    campaigns = {message.campaign for message in messages}
    return (
        drop_messages(state, lambda _, message: message.campaign in campaigns)
        if campaigns
        else state
    )


def drop_identifier(state: ContactState, identifier: str | None) -> ContactState:
    """Return the state without deferrals from interactions of a forgotten identifier."""

    def is_from_identifier(deferral: Deferral) -> bool:
        interaction = deferral.record.interaction
        return interaction is not None and any(
            own_identifier.key == identifier for own_identifier in interaction.identifiers
        )

    return _map_deferrals(
        state,
        lambda part: tuple(
            deferral for deferral in part.deferred if not is_from_identifier(deferral)
        ),
    )


def drop_messages(
    state: ContactState, is_dropped: Callable[[Deferral, DeferredMessage], bool]
) -> ContactState:
    """Return the state without the messages for which `is_dropped` holds, and without deferrals
    that have none left."""

    def remove_messages(deferral: Deferral) -> Deferral:
        return replace(
            deferral,
            messages=tuple(
                message for message in deferral.messages if not is_dropped(deferral, message)
            ),
        )

    return _map_deferrals(
        state,
        lambda part: tuple(
            deferral for deferral in map(remove_messages, part.deferred) if deferral.messages
        ),
    )


def all_deferrals(state: ContactState) -> Iterator[tuple[str, Deferral]]:
    """Yield all deferrals, each with its shard."""
    for shard, part in state.shards.here.items():
        for deferral in part.deferred:
            yield shard, deferral


def _message(candidate: CompiledCandidate, arbitration: Arbitration) -> DeferredMessage | None:
    """Return the deferred form of a message; None: no quiet hours hold it back, or its deadline
    is not after them."""
    facts = arbitration.moment.facts
    rule = quiet_hours.find_quiet_hours(
        candidate, arbitration.rules.config.constraints.quiet_hours, facts
    )
    if rule is None:
        return None
    until, deadline_at = (
        quiet_hours.end_of_quiet_hours(rule, facts),
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


def _map_deferrals(
    state: ContactState, change: Callable[[History], tuple[Deferral, ...]]
) -> ContactState:
    if not has_deferrals(state):
        return state
    parts = {
        name: replace(part, deferred=change(part)) if part.deferred else part
        for name, part in state.shards.here.items()
    }
    return replace(state, shards=Shards(parts, state.shards.away))
