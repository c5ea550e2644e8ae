"""The JSON that senders post, as records: Segment's message format and our own requests.

Fields unknown here are ignored, as Segment does; a wrong type is refused by name.
"""

from typing import Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Raw, Struct

MAX_ID: Final = 256
"""Characters of a message id."""

Kind: TypeAlias = Literal["track", "identify", "page", "screen", "group", "alias"]
Id: TypeAlias = str | int | None
Time: TypeAlias = str | int | float | None
OutcomeName: TypeAlias = Literal[
    "sent",
    "delivered",
    "impression",
    "click",
    "dismiss",
    "bounce",
    "complaint",
    "conversion",
    "expired",
]


class Posted(Struct, frozen=True, rename="camel"):
    """A record as it is posted."""


class Page(Posted, frozen=True):
    url: str | None = None
    referrer: str | None = None


class Device(Posted, frozen=True):
    id: Id = None


class ExternalId(Posted, frozen=True):
    type: str
    id: str | int


class Consent(Posted, frozen=True):
    category_preferences: dict[str, bool] | None = None


class MessageContext(Posted, frozen=True):
    """Segment's `context`, as far as it is used."""

    ip: str | None = None
    user_agent: str | None = None
    page: Page | None = None
    locale: str | None = None
    timezone: str | None = None
    campaign: dict[str, Any] | None = None
    consent: Consent | None = None
    external_ids: tuple[ExternalId, ...] | None = None
    device: Device | None = None
    traits: dict[str, Any] | None = None


class Message(Posted, frozen=True):
    """One Segment message; `type` is needed where the path does not say it."""

    type: Kind | None = None
    message_id: Id = None
    user_id: Id = None
    anonymous_id: Id = None
    previous_id: Id = None
    group_id: Id = None
    event: str | None = None
    name: str | None = None
    category: str | None = None
    properties: dict[str, Any] | None = None
    traits: dict[str, Any] | None = None
    context: MessageContext | None = None
    timestamp: Time = None
    sent_at: Time = None
    write_key: str | None = None


class Batch(Posted, frozen=True):
    """`/v1/batch`; each message is decoded on its own, so that a bad one spoils no other."""

    batch: tuple[Raw, ...]
    context: MessageContext | None = None
    sent_at: Time = None
    write_key: str | None = None


class DecideBody(Struct, frozen=True):
    """`/v1/decide`; `budget_ms` may only shorten the gateway's own limit."""

    interaction: Message
    placements: tuple[str, ...]
    budget_ms: int | None = None


class OutcomeBody(Posted, frozen=True):
    """What became of the action that `token` stands for.

    Once per action and outcome; those with a `messageId` of their own count each, but for
    conversions: these count once per action and `properties.goal`. `bounce` and `expired`, which
    give a place under the caps back, are taken from Kairos's own adapters only. `traceparent`:
    where several outcomes of different traces are sent at once.
    """

    token: str
    outcome: OutcomeName
    timestamp: Time = None
    sent_at: Time = None
    message_id: Id = None
    properties: dict[str, Any] | None = None
    traceparent: str | None = None
    write_key: str | None = None


class Outcomes(Posted, frozen=True):
    """`/v1/outcomes` with several; None: the body is one outcome."""

    outcomes: tuple[Raw, ...] | None = None
    sent_at: Time = None
    write_key: str | None = None


MESSAGE: Final = msgspec.json.Decoder(Message)
BATCH: Final = msgspec.json.Decoder(Batch)
DECIDE: Final = msgspec.json.Decoder(DecideBody)
OUTCOME: Final = msgspec.json.Decoder(OutcomeBody)
OUTCOMES: Final = msgspec.json.Decoder(Outcomes)
