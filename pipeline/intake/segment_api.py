"""Conversion of a message in Segment's format into an Interaction."""

from collections.abc import Callable
from dataclasses import dataclass, field

from msgspec.structs import replace

from pipeline.config.compile import Configuration
from pipeline.config.model import Source
from pipeline.intake.context import Fields, context_of, details, fields, merge_context
from pipeline.intake.draft import Draft
from pipeline.intake.flatten import Flat, flatten, merge_over
from pipeline.intake.identifiers import id_text, identifiers
from pipeline.intake.message_ids import MessageIds
from pipeline.intake.messages import MAX_ID, Kind, SegmentBatch, SegmentMessage, Time
from pipeline.intake.refusal import Refusal, refuse
from pipeline.intake.times import event_time, given_time
from pipeline.intake.trust import Speaker
from pipeline.model.interaction import DecideRequest, Identifier, Interaction


@dataclass(frozen=True, slots=True)
class Arrival:
    """Circumstances of a receipt: source, time (epoch ms) and configuration in force.

    `ip` and `user_agent` are the customer's, where the request has them. `speaker` restricts the
    identifiers of a public source; `new_id` makes an id for a message without one.
    """

    source: Source
    config: Configuration
    now_ms: int
    ip: str | None = None
    user_agent: str | None = None
    speaker: Speaker | None = None
    new_id: Callable[[], str | Refusal] = field(default_factory=MessageIds)

    @property
    def received_at(self) -> int | None:
        """Time of receipt; None for a replayed log, whose own times count."""
        return None if self.source.clock == "log" else self.now_ms

    def event_time(self, timestamp: Time, sent_at: Time) -> int | Refusal:
        """Return the time of the event, corrected by the sender's clock, except for a log."""
        skew = None if self.source.clock == "log" else sent_at
        earliest = self.config.earliest_time(self.source.name)
        return event_time(timestamp, skew, self.now_ms, earliest)


def interaction(
    message: SegmentMessage, kind: Kind, arrival: Arrival, request: DecideRequest | None = None
) -> Interaction | Refusal:
    """Convert a message into an interaction, or return its refusal."""
    context = fields(message.context)
    return Draft(
        event_id=message_id(message.message_id, arrival.new_id),
        kind=kind,
        name=_name(message, kind),
        channel=arrival.source.channel,
        source=arrival.source.name,
        occurred_at=arrival.event_time(*_times(message)),
        received_at=arrival.received_at,
        identifiers=_identifiers(message, kind, context, arrival),
        properties=_properties(message, kind, context),
        context=context_of(context, arrival.ip, arrival.user_agent),
        request=request,
    ).complete()


def add_batch_fields(message: SegmentMessage, batch: SegmentBatch) -> SegmentMessage:
    """Return the message with the common fields of its batch."""
    return replace(
        message,
        context=merge_context(batch.context, message.context),
        sent_at=message.sent_at or batch.sent_at,
    )


def message_id(sender_id: str | int | None, new_id: Callable[[], str | Refusal]) -> str | Refusal:
    """Return the sender's id, or a new one where it is missing or blank."""
    text = "" if sender_id is None else str(sender_id)
    if not text.strip():
        return new_id()
    if len(text) > MAX_ID:
        return refuse("invalid_id", "messageId", f"messageId may have {MAX_ID} characters")
    return text


def _identifiers(
    message: SegmentMessage, kind: Kind, context: Fields, arrival: Arrival
) -> tuple[Identifier, ...] | Refusal:
    all_identifiers = identifiers(message, kind, context, arrival.config)
    if arrival.speaker is None or isinstance(all_identifiers, Refusal):
        return all_identifiers
    return arrival.speaker.restrict(all_identifiers, id_text(message.user_id), context.get("proof"))


def _times(message: SegmentMessage) -> tuple[Time, Time]:
    """Return the times of the event and of sending, by the same clock.

    A message with both `timestamp` and `originalTimestamp` went through a collector that has
    already corrected `timestamp` by the sender's clock.
    """
    if given_time(message.timestamp) is None:
        return message.original_timestamp, message.sent_at
    is_corrected = given_time(message.original_timestamp) is not None
    return message.timestamp, None if is_corrected else message.sent_at


def _name(message: SegmentMessage, kind: Kind) -> str | Refusal:
    if kind == "track":
        return message.event or refuse("missing_field", "event", "a track message needs an event")
    if kind in ("page", "screen"):
        return message.name or message.category or kind
    return kind


def _properties(message: SegmentMessage, kind: Kind, context: Fields) -> Flat | Refusal:
    """Flatten the traits of identify and group messages, the properties of other messages."""
    section = "traits" if kind in ("identify", "group") else "properties"
    values = details(message.traits if section == "traits" else message.properties, section)
    if isinstance(values, Refusal):
        return values
    message_fields = flatten(values, section)
    extra_fields = _extra_fields(message, kind, context)
    if isinstance(message_fields, Refusal) or isinstance(extra_fields, Refusal):
        return message_fields if isinstance(message_fields, Refusal) else extra_fields
    return merge_over(message_fields, extra_fields, section)


def _extra_fields(message: SegmentMessage, kind: Kind, context: Fields) -> Flat | Refusal:
    """Flatten the fields that count as properties or traits unless the message's own have the same
    name."""
    if kind == "identify":
        return flatten(fields(context.get("traits")), "context.traits")
    if kind == "group" and message.group_id is not None:
        return flatten({"groupId": message.group_id}, "traits")
    if kind in ("page", "screen") and message.category is not None:
        return flatten({"category": message.category}, "properties")
    return Flat({}, {})
