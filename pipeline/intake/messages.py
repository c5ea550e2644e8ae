"""The JSON that senders post, as records: Segment's message format and our own requests.

Fields unknown here are ignored, as Segment does. A wrong type is refused by name, except that of an
identifier beside a good one and that of a field of `context`, which are left out.
"""

from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta, Raw, Struct

MAX_ID: Final = 256
"""Characters of a message id."""

Kind: TypeAlias = Literal["track", "identify", "page", "screen", "group", "alias"]
Id: TypeAlias = str | int | None
Name: TypeAlias = Annotated[Any, Meta(description="Text or a whole number")]
Details: TypeAlias = Annotated[Any, Meta(description="An object; `[]` stands for an empty one")]
Surroundings: TypeAlias = Annotated[
    Any, Meta(description="An object as Segment's; a field of the wrong type is left out")
]
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


class PostedRecord(Struct, frozen=True, rename="camel"):
    """A record as it is posted."""


class SegmentMessage(PostedRecord, frozen=True):
    """One Segment message; `type` is needed where the path does not say it.

    `original_timestamp` is what RudderStack's clients send for `timestamp`.
    """

    type: Kind | None = None
    message_id: Id = None
    user_id: Name = None
    anonymous_id: Name = None
    previous_id: Name = None
    group_id: Any = None
    event: str | None = None
    name: str | None = None
    category: str | None = None
    properties: Details = None
    traits: Details = None
    context: Surroundings = None
    timestamp: Time = None
    original_timestamp: Time = None
    sent_at: Time = None
    write_key: str | None = None


class SegmentBatch(PostedRecord, frozen=True):
    """`/v1/batch`; each message is decoded on its own, so that a bad one spoils no other."""

    batch: tuple[Raw, ...]
    context: Surroundings = None
    sent_at: Time = None
    write_key: str | None = None


class PlacementRequest(Struct, frozen=True):
    """A placement that wants a list: at most `limit` actions of different offers, the best
    first."""

    placement: str
    limit: int


class DecideBody(Struct, frozen=True):
    """`/v1/decide`; `budget_ms` may only shorten the gateway's own limit."""

    interaction: SegmentMessage
    placements: tuple[str | PlacementRequest, ...]
    budget_ms: int | None = None


class OutcomeBody(PostedRecord, frozen=True):
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


class Outcomes(PostedRecord, frozen=True):
    """`/v1/outcomes` with several; None: the body is one outcome."""

    outcomes: tuple[Raw, ...] | None = None
    sent_at: Time = None
    write_key: str | None = None


MESSAGE: Final = msgspec.json.Decoder(SegmentMessage)
BATCH: Final = msgspec.json.Decoder(SegmentBatch)
DECIDE: Final = msgspec.json.Decoder(DecideBody)
OUTCOME: Final = msgspec.json.Decoder(OutcomeBody)
OUTCOMES: Final = msgspec.json.Decoder(Outcomes)
