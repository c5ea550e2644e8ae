"""Records of posted JSON: Segment's message format and Kairos's own requests.

Unknown fields are ignored, as Segment does. A field of the wrong type is refused by name; only
identifiers (beside a valid one) and fields of `context` are left out instead.
"""

from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta, Raw, Struct

MAX_ID: Final = 256
"""Maximum number of characters in a message id."""

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
    """Posted record, with field names in camel case."""


class SegmentMessage(PostedRecord, frozen=True):
    """Message in Segment's format; `type` is needed where the path does not give it.

    `original_timestamp` is the name that RudderStack's clients give to `timestamp`.
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
    """Body of `/v1/batch`; messages are decoded one by one, so that each is refused alone."""

    batch: tuple[Raw, ...]
    context: Surroundings = None
    sent_at: Time = None
    write_key: str | None = None


class PlacementRequest(Struct, frozen=True):
    """Placement with a list: at most `limit` actions of different offers, best first."""

    placement: str
    limit: int


class DecideBody(Struct, frozen=True):
    """Body of `/v1/decide`; `budget_ms` may only shorten the gateway's own limit."""

    interaction: SegmentMessage
    placements: tuple[str | PlacementRequest, ...]
    budget_ms: int | None = None

    @property
    def write_key(self) -> str | None:
        """Write key in the interaction; None without one."""
        return self.interaction.write_key


class OutcomeBody(PostedRecord, frozen=True):
    """Outcome of the action that carried `token`.

    An outcome counts once per action, or once per `messageId` where it has one; a conversion counts
    once per action and `properties.goal`, whatever its `messageId`. `bounce` and `expired`, which
    release caps, are accepted from Kairos's own adapters only. `traceparent`: the outcome's own
    trace, for requests with outcomes of different traces.
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
    """Body of `/v1/outcomes`; `outcomes` None: the body is a single outcome itself."""

    outcomes: tuple[Raw, ...] | None = None
    sent_at: Time = None
    write_key: str | None = None


class CookieBody(PostedRecord, frozen=True):
    """Body of `/v1/cookie`; `domain` is the site's (`shop.example`); empty: this host alone."""

    anonymous_id: str
    domain: str = ""
    write_key: str | None = None


MESSAGE_DECODER: Final = msgspec.json.Decoder(SegmentMessage)
BATCH_DECODER: Final = msgspec.json.Decoder(SegmentBatch)
DECIDE_DECODER: Final = msgspec.json.Decoder(DecideBody)
OUTCOME_DECODER: Final = msgspec.json.Decoder(OutcomeBody)
OUTCOMES_DECODER: Final = msgspec.json.Decoder(Outcomes)
COOKIE_DECODER: Final = msgspec.json.Decoder(CookieBody)
