"""What enrichment keeps for one profile.

A shard is a commutative monoid under `merge`: interactions in any order, over any shards, fold to
the same profile.
"""

from msgspec import Struct, field

from pipeline.model.interaction import Scalar
from pipeline.model.shards import Shards


class Value(Struct, frozen=True, array_like=True):
    """A trait's value, with the interaction that gave it."""

    value: Scalar
    occurred_at: int
    event_id: str


class Span(Struct, frozen=True, array_like=True, order=True):
    """A session so far: first and last interaction, ms, both inclusive."""

    first: int
    last: int


class Shard(Struct, frozen=True):
    """What one identifier brought under one owner. `spans` are the recent sessions, in order and
    apart by more than the session gap; `ended` counts those that are too old to change."""

    first_seen: int
    last_seen: int
    interactions: int = 0
    identifiers: dict[str, int] = field(default_factory=dict)
    traits: dict[str, Value] = field(default_factory=dict)
    spans: tuple[Span, ...] = ()
    ended: int = 0


class ProfileState(Struct, frozen=True):
    """One profile's row. `root` is the identifier that the id is made of."""

    root: str
    shards: Shards[Shard] = field(default_factory=Shards)
