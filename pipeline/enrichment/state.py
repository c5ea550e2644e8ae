"""Row of the enrichment stage: one profile.

A shard is a commutative monoid under `merge`: interactions in any order, over any shards, fold to
the same profile.
"""

from typing import TypeAlias

from msgspec import Struct, field

from pipeline.enrichment.sequences import Mark
from pipeline.model.belongings import Belonging
from pipeline.model.interaction import FactValue, Scalar
from pipeline.model.shards import Shards


class Value(Struct, frozen=True, array_like=True, tag=0):
    """Value, with the interaction that it comes from."""

    value: FactValue
    occurred_at: int
    event_id: str


class BigSum(Struct, frozen=True, array_like=True, tag=4):
    """Sum in millionths that exceeds 64 bits, in hexadecimal: sums are exact, so that the order of
    arrival does not matter."""

    digits: str


Cell: TypeAlias = Scalar | Value | BigSum
"""Combined value of interactions: a count or a sum (in millionths), the least or greatest value,
or the first or latest one."""


class Panes(Struct, frozen=True, array_like=True, tag=1):
    """Cells of a window by time (ms, ascending); see `panes.py`. `pane_ends`: the moments of
    `ats` whose cell is that of a whole pane."""

    ats: tuple[int, ...]
    cells: tuple[Cell, ...]
    pane_ends: tuple[int, ...] = ()


class Sample(Struct, frozen=True, array_like=True, tag=2):
    """Distinct values by hash, each with its latest time (ms); see `sample.py`. `levels`: pairs
    (until, level): up to `until`, one in 2^level hashes is retained; later, lower levels follow."""

    ats: dict[int, int]
    levels: tuple[tuple[int, int], ...] = ()


class Terms(Struct, frozen=True, array_like=True, tag=3):
    """Set of texts, each with its latest time (ms)."""

    ats: dict[str, int]


AggregatePart: TypeAlias = Cell | Panes | Sample | Terms


class Backfill(Struct, frozen=True, array_like=True):
    """Interactions from before an aggregate was in the configuration applied at `run` (ms).

    `part`: aggregate of the `interaction_count` interactions found in the log (-1: not read yet).
    Interactions before `since` (ms) may be missing; None: no interaction is missing.
    """

    run: int
    interaction_count: int = -1
    since: int | None = None
    part: AggregatePart = None


class Span(Struct, frozen=True, array_like=True, order=True):
    """Session so far: first and last interaction, ms, both inclusive."""

    first: int
    last: int


class Shard(Struct, frozen=True):
    """Part of a profile, from the interactions of one identifier under one owner.

    `clock`: latest `received_at`; `log`: whether the latest interaction has a log's own clock.
    `spans`: recent sessions, sorted; `ended`: number of older sessions, which cannot change.
    `identifiers`: of the interactions, each with its latest time (ms). `kept`: the aggregates of
    interactions whose configuration has them, by key; `begun`: back-fills of earlier ones.
    `sequences`: the needed marks of each sequence, by name.
    """

    first_seen: int
    last_seen: int
    clock: int
    log: bool = False
    interactions: int = 0
    identifiers: dict[str, int] = field(default_factory=dict)
    kept: dict[str, AggregatePart] = field(default_factory=dict)
    begun: dict[str, Backfill] = field(default_factory=dict)
    spans: tuple[Span, ...] = ()
    ended: int = 0
    sequences: dict[str, tuple[Mark, ...]] = field(default_factory=dict)


class ProfileState(Struct, frozen=True):
    """Row of one profile. `root`: the identifier that determines the id, empty until it is known.
    `belongings`: the customer's present and former identifiers. `shown`: identifiers shown by
    interactions, with times (ms), whose own rows have not reported yet. `at`: the profile's present
    time (ms), which never decreases. `due_at`: the next time at which time alone may change a trait
    that a segment reads, or a segment."""

    root: str
    shards: Shards[Shard] = field(default_factory=Shards)
    belongings: dict[str, Belonging] = field(default_factory=dict)
    at: int = 0
    due_at: int | None = None
    shown: dict[str, int] = field(default_factory=dict)
