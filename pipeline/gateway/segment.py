"""A Segment message as an Interaction: what each of its fields means here."""

from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import msgspec

from pipeline.config.compile import Configuration
from pipeline.config.model import Source
from pipeline.gateway.flatten import Flat, flatten
from pipeline.gateway.identifiers import identifiers
from pipeline.gateway.messages import MAX_ID, Kind, Message, MessageContext, Time
from pipeline.gateway.refusal import Refusal, bad
from pipeline.gateway.times import occurred_at
from pipeline.model.interaction import Context, DecideRequest, Interaction

_EMPTY: Final = MessageContext()


@dataclass(frozen=True, slots=True)
class Arrival:
    """How something reached us: from whom, when (epoch ms), and under which configuration."""

    source: Source
    config: Configuration
    now_ms: int
    ip: str | None = None

    def received_at(self, occurred: int) -> int:
        """A source that plays a log is heard at the log's own time."""
        return occurred if self.source.clock == "log" else self.now_ms

    def occurred_at(self, timestamp: Time, sent_at: Time) -> int | Refusal:
        """A log's times stand as they are; others are corrected by the sender's clock."""
        skew = None if self.source.clock == "log" else sent_at
        earliest = self.config.earliest_of(self.source.name)
        return occurred_at(timestamp, skew, self.now_ms, earliest)


def interaction(
    message: Message, kind: Kind, arrival: Arrival, request: DecideRequest | None = None
) -> Interaction | Refusal:
    """The interaction that `message` tells of, or why it cannot be one."""
    event_id = message_id(message.message_id)
    name = _name(message, kind)
    occurred = arrival.occurred_at(message.timestamp, message.sent_at)
    names = identifiers(message, arrival.config)
    properties = _properties(message, kind)
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
        context=_context(message, arrival.ip),
        request=request,
    )


def message_id(given: str | int | None) -> str | Refusal:
    """Without one from the sender a retry cannot be told from a new message."""
    if given is None:
        return str(uuid4())
    text = str(given)
    if 0 < len(text) <= MAX_ID:
        return text
    return bad("invalid_id", "messageId", f"messageId must have 1 to {MAX_ID} characters")


def _name(message: Message, kind: Kind) -> str | Refusal:
    if kind == "track":
        return message.event or bad("missing_field", "event", "a track message needs an event")
    if kind in ("page", "screen"):
        return message.name or message.category or kind
    return kind


def _properties(message: Message, kind: Kind) -> Flat | Refusal:
    field = "traits" if kind in ("identify", "group") else "properties"
    values: dict[str, Any] = (message.traits if field == "traits" else message.properties) or {}
    extra = {"groupId": message.group_id} if kind == "group" else {}
    if kind in ("page", "screen"):
        extra = {"category": message.category}
    given = {name: value for name, value in extra.items() if value is not None}
    return flatten({**given, **values}, field)


def _context(message: Message, ip: str | None) -> Context:
    context = message.context or _EMPTY
    page = context.page
    consent = context.consent.category_preferences if context.consent else None
    return Context(
        ip=context.ip or ip,
        user_agent=context.user_agent,
        url=page.url if page else None,
        referrer=page.referrer if page else None,
        locale=context.locale,
        timezone=context.timezone,
        campaign={name: _text(value) for name, value in (context.campaign or {}).items()},
        consent=consent or {},
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
