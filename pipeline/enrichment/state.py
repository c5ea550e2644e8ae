"""What enrichment keeps for one profile.

A shard is a commutative monoid under `merge`: interactions in any order, over any shards, fold to
the same profile.
"""

from msgspec import Struct, field

from pipeline.enrichment.sequences import Mark
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


class Left(Struct, frozen=True, array_like=True):
    """Told at `at` (ms): an identifier seen here up to `until` (ms; None: whenever) is not the
    customer's any more."""

    at: int
    until: int | None


class Shard(Struct, frozen=True):
    """What one identifier brought under one owner. `spans` are the recent sessions, in order and
    apart by more than the session gap; `ended` counts those that are too old to change.
    `left` has the identifiers that are somebody else's now.
    `sequences`: what a sequence needs of the interactions, in order, by its name."""

    first_seen: int
    last_seen: int
    interactions: int = 0
    identifiers: dict[str, int] = field(default_factory=dict)
    left: dict[str, Left] = field(default_factory=dict)
    traits: dict[str, Value] = field(default_factory=dict)
    spans: tuple[Span, ...] = ()
    ended: int = 0
    sequences: dict[str, tuple[Mark, ...]] = field(default_factory=dict)


class ProfileState(Struct, frozen=True):
    """One profile's row. `root` is the identifier that the id is made of. `early`: who left shards
    that are still on their way here."""

    root: str
    shards: Shards[Shard] = field(default_factory=Shards)
    early: dict[str, dict[str, Left]] = field(default_factory=dict)
