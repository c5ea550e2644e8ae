"""Conversion of a message in Segment's format into an Interaction."""

from collections.abc import Callable
from dataclasses import dataclass, field

from msgspec.structs import replace

from pipeline.config.compile import Configuration
from pipeline.config.model import Source
from pipeline.intake.context import Fields, context_of, details, fields, merge_context
from pipeline.intake.flatten import Flat, flatten
from pipeline.intake.identifiers import id_text, identifiers
from pipeline.intake.message_ids import MessageIds
from pipeline.intake.messages import MAX_ID, Kind, SegmentBatch, SegmentMessage, Time
from pipeline.intake.refusal import Refusal, bad
from pipeline.intake.times import occurred_at
from pipeline.intake.trust import Speaker
from pipeline.model.interaction import DecideRequest, Interaction


@dataclass(frozen=True, slots=True)
class Arrival:
    """Circumstances of a receipt: source, time (epoch ms) and configuration in force.

    `speaker` restricts a public source, which may not speak for everybody; `ids` are for messages
    without one.
    """

    source: Source
    config: Configuration
    now_ms: int
    ip: str | None = None
    speaker: Speaker | None = None
    ids: MessageIds = field(default_factory=MessageIds)

    def received_at(self, occurred: int) -> int:
        """Return the time of receipt: of a source that plays a log the log's own time."""
        return occurred if self.source.clock == "log" else self.now_ms

    def occurred_at(self, timestamp: Time, sent_at: Time) -> int | Refusal:
        """Return the time of the event, corrected by the sender's clock, except for a log."""
        skew = None if self.source.clock == "log" else sent_at
        earliest = self.config.earliest_of(self.source.name)
        return occurred_at(timestamp, skew, self.now_ms, earliest)


def interaction(
    message: SegmentMessage, kind: Kind, arrival: Arrival, request: DecideRequest | None = None
) -> Interaction | Refusal:
    """Convert a message into an interaction, or return why it is refused."""
    context = fields(message.context)
    event_id = message_id(message.message_id, arrival.ids)
    name = _name(message, kind)
    occurred = arrival.occurred_at(*_times(message))
    names = identifiers(message, kind, context, arrival.config)
    if arrival.speaker is not None and not isinstance(names, Refusal):
        names = arrival.speaker.restrict(names, id_text(message.user_id), context.get("proof"))
    properties = _properties(message, kind, context)
    if isinstance(event_id, Refusal):
        return event_id
    if isinstance(name, Refusal):
        return name
    if isinstance(occurred, Refusal):
        return occurred
    if isinstance(names, Refusal):
        return names
    if isinstance(properties, Refusal):
        return properties
    return Interaction(
        event_id=event_id,
        kind=kind,
        name=name,
        channel=arrival.source.channel,
        source=arrival.source.name,
        occurred_at=occurred,
        received_at=arrival.received_at(occurred),
        identifiers=names,
        properties=properties.scalars,
        lists=properties.lists,
        context=context_of(context, arrival.ip),
        request=request,
    )


def with_batch_fields(message: SegmentMessage, batch: SegmentBatch) -> SegmentMessage:
    """Return the message with the fields that its batch gives for all messages."""
    return replace(
        message,
        context=merge_context(batch.context, message.context),
        sent_at=message.sent_at or batch.sent_at,
    )


def has_id(message: SegmentMessage) -> bool:
    """Return whether the sender gave the message an id that is not blank."""
    return message.message_id is not None and bool(str(message.message_id).strip())


def message_id(given: str | int | None, new_id: Callable[[], str]) -> str | Refusal:
    """Return the sender's id or a new one, with which a retry counts as another message."""
    text = "" if given is None else str(given)
    if len(text) > MAX_ID:
        return bad("invalid_id", "messageId", f"messageId may have {MAX_ID} characters")
    return text if text.strip() else new_id()


def _times(message: SegmentMessage) -> tuple[Time, Time]:
    """Return the times of the event and of sending, by the same clock.

    A message with both `timestamp` and `originalTimestamp` went through a collector that has
    already corrected `timestamp` by the sender's clock.
    """
    if message.timestamp is None:
        return message.original_timestamp, message.sent_at
    corrected = message.original_timestamp is not None
    return message.timestamp, None if corrected else message.sent_at


def _name(message: SegmentMessage, kind: Kind) -> str | Refusal:
    if kind == "track":
        return message.event or bad("missing_field", "event", "a track message needs an event")
    if kind in ("page", "screen"):
        return message.name or message.category or kind
    return kind


def _properties(message: SegmentMessage, kind: Kind, context: Fields) -> Flat | Refusal:
    """Flatten the traits of identify and group messages, the properties of others."""
    field = "traits" if kind in ("identify", "group") else "properties"
    given = details(message.traits if field == "traits" else message.properties, field)
    if isinstance(given, Refusal):
        return given
    beside: Fields = {}
    if kind == "identify":
        beside = fields(context.get("traits"))
    elif kind == "group" and message.group_id is not None:
        beside = {"groupId": message.group_id}
    elif kind in ("page", "screen") and message.category is not None:
        beside = {"category": message.category}
    return flatten({**beside, **given}, field)
