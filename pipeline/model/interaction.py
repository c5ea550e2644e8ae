"""Interactions of customers, as in the topic `interactions`."""

from typing import Final, Literal, TypeAlias

from msgspec import Struct, field, json

_INTEGER_LIMIT: Final = 2.0**63
"""Limit of the floats that are written as integers, which have 64 bits."""

Scalar: TypeAlias = bool | int | float | str | None
"""Value of a property; nested objects are flattened to dotted names before."""

FactValue: TypeAlias = Scalar | tuple[str, ...]
"""Value as conditions and traits read it: a scalar, or a list, whose elements are texts."""

Kind: TypeAlias = Literal[
    "track", "identify", "page", "screen", "group", "alias", "outcome", "timer"
]


class Identifier(Struct, frozen=True, order=True):
    """Normalised name of a customer: `email:ada@example.com`."""

    namespace: str
    value: str

    @property
    def key(self) -> str:
        """Kafka key, `namespace:value`."""
        return f"{self.namespace}:{self.value}"

    @classmethod
    def parse(cls, key: str) -> "Identifier":
        """Return the identifier with this key. Raises ValueError."""
        namespace, colon, value = key.partition(":")
        if not (colon and namespace and value):
            raise ValueError(f"{key!r} is not namespace:value")
        return cls(namespace, value)


class Context(Struct, frozen=True):
    """Circumstances, named after Segment's context fields."""

    ip: str | None = None
    user_agent: str | None = None
    url: str | None = None
    referrer: str | None = None
    locale: str | None = None
    timezone: str | None = None
    campaign: dict[str, str] = field(default_factory=dict)
    consent: dict[str, bool] = field(default_factory=dict)


class DecideRequest(Struct, frozen=True):
    """Request to answer `placements` to `gateway` by `deadline_at` (ms)."""

    request_id: str
    gateway: str
    placements: tuple[str, ...]
    deadline_at: int
    limits: dict[str, int] = field(default_factory=dict)


class Interaction(Struct, frozen=True):
    """One event. Times are epoch milliseconds.

    `occurred_at` is the time by the sender's clock; `received_at` is the receipt by Kairos, and the
    present time for every rule. `identifiers` has at least one entry. `lists` are the properties
    that are lists, their elements as texts (`text_of`), nested elements as JSON.

    `event_id` is the sender's own; the unique identity of an event is its `event_key`.
    """

    event_id: str
    kind: Kind
    name: str
    channel: str
    source: str
    occurred_at: int
    received_at: int
    identifiers: tuple[Identifier, ...]
    properties: dict[str, Scalar] = field(default_factory=dict)
    context: Context = field(default_factory=Context)
    request: DecideRequest | None = None
    lists: dict[str, tuple[str, ...]] = field(default_factory=dict)


def text_of(value: Scalar) -> str:
    """Return a scalar as an element of a list: 1 and 1.0 are `1`, true is `true`."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < _INTEGER_LIMIT:
        value = int(value)
    return json.encode(value).decode()
