"""Row of the enrichment stage: one profile.

A shard is a commutative monoid under `merge`: interactions in any order, over any shards, fold to
the same profile.
"""

from typing import TypeAlias

from msgspec import Struct, field

from pipeline.enrichment.sequences import Mark
from pipeline.model.belongings import Belonging
from pipeline.model.interaction import Known, Scalar
from pipeline.model.shards import Shards


class Value(Struct, frozen=True, array_like=True, tag=0):
    """Value with the interaction that gave it."""

    value: Known
    occurred_at: int
    event_id: str


class Big(Struct, frozen=True, array_like=True, tag=4):
    """Sum in millionths that 64 bits cannot hold, in hexadecimal: sums are exact whatever comes,
    so that the order in which it comes does not matter."""

    digits: str


Cell: TypeAlias = Scalar | Value | Big
"""Sum of interactions: a count or a sum (in millionths), the least or greatest value, or
the first or latest one."""


class Panes(Struct, frozen=True, array_like=True, tag=1):
    """Window's cells by time (ms, ascending); see `panes.py`. `whole`: those of `ats` whose cell
    stands for its whole pane."""

    ats: tuple[int, ...]
    cells: tuple[Cell, ...]
    whole: tuple[int, ...] = ()


class Sample(Struct, frozen=True, array_like=True, tag=2):
    """Distinct values by hash, each with its latest time (ms); see `sample.py`. `levels`: (until,
    level): of what came up to then only one in 2^level was kept; later and lower ones follow."""

    ats: dict[int, int]
    levels: tuple[tuple[int, int], ...] = ()


class Terms(Struct, frozen=True, array_like=True, tag=3):
    """Set of texts, each with its latest time (ms)."""

    ats: dict[str, int]


Kept: TypeAlias = Cell | Panes | Sample | Terms


class Backfill(Struct, frozen=True, array_like=True):
    """Interactions from before an aggregate was in the configuration applied at `run` (ms).

    `part` is made of `covered` interactions found in the log (-1: not looked for yet). Those before
    `since` (ms) may be missing; None: none is.
    """

    run: int
    covered: int = -1
    since: int | None = None
    part: Kept = None


class Span(Struct, frozen=True, array_like=True, order=True):
    """Session so far: first and last interaction, ms, both inclusive."""

    first: int
    last: int


class Shard(Struct, frozen=True):
    """Part of a profile that one identifier brought under one owner.

    `clock`: latest `received_at`; `log`: the latest interaction came in a log's own time. `spans`:
    recent sessions, in order and apart by more than the session gap; `ended`: number of those too
    old to change. `identifiers`: those that it saw, each with its latest time (ms). `kept`: the
    aggregates that traits are made of, by key, of interactions whose configuration has them;
    `begun`: of those from before. `sequences`: the marks that each sequence needs, by name.
    """

    first_seen: int
    last_seen: int
    clock: int
    log: bool = False
    interactions: int = 0
    identifiers: dict[str, int] = field(default_factory=dict)
    kept: dict[str, Kept] = field(default_factory=dict)
    begun: dict[str, Backfill] = field(default_factory=dict)
    spans: tuple[Span, ...] = ()
    ended: int = 0
    sequences: dict[str, tuple[Mark, ...]] = field(default_factory=dict)


class ProfileState(Struct, frozen=True):
    """One profile's row. `root` is the identifier that the id is made of; empty until something
    says it. `belongings`: the identifiers that are the customer's, and those that no more are.
    `shown`: those that interactions showed, and when (ms), whose own rows have not said so yet.
    `at`: the time (ms) that the profile has come to, which does not go back. `due_at`: when time
    alone may next change a trait that a segment reads, or what a segment makes of one."""

    root: str
    shards: Shards[Shard] = field(default_factory=Shards)
    belongings: dict[str, Belonging] = field(default_factory=dict)
    at: int = 0
    due_at: int | None = None
    shown: dict[str, int] = field(default_factory=dict)
