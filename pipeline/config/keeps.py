"""What is kept up of a profile's interactions so that its traits can be told.

A keep's key follows from what it keeps: traits that are made of the same share it, a renamed trait
goes on, and one that is defined anew begins anew. The key also says how parts become one, so that
what a configuration does not have can be kept and merged all the same.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Final, Literal, TypeAlias, cast

import msgspec

from pipeline.conditions import duration_ms
from pipeline.conditions.compile import Read, Test
from pipeline.config import model, readers
from pipeline.config.conditions import compiled
from pipeline.model.interaction import Interaction

KeepRule: TypeAlias = Literal["count", "sum", "min", "max", "first", "latest", "distinct", "union"]

READS_NOTHING: Final = ("count", "recency")
"""Rules of traits that have no `of`."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How parts become one: by `rule`, over `window_ms` (None: over a lifetime)."""

    rule: KeepRule
    window_ms: int | None


@dataclass(frozen=True, slots=True)
class Aggregate(Shape):
    """Where `test` holds, `read` gives the value to combine; None: nothing to add.

    `names`: it can only hold for interactions of these names. `clears`: whether an interaction says
    that there is no value any more; None: nothing says so.
    """

    key: str
    test: Test
    read: Read
    names: frozenset[str] | None
    clears: Callable[[Interaction], bool] | None = None


@dataclass(frozen=True, slots=True)
class Keeps:
    """All keeps by key, and those that an interaction of a name can touch."""

    by_key: Mapping[str, Aggregate]
    by_name: Mapping[str, tuple[Aggregate, ...]]
    any_name: tuple[Aggregate, ...]

    def touched(self, interaction: Interaction) -> tuple[Aggregate, ...]:
        """Those that `interaction` may add to."""
        return self.by_name.get(interaction.name, self.any_name)


def keeps_for(trait: model.Trait) -> tuple[Aggregate, ...]:
    """What a trait is made of: one keep; for an average the sum and the count; of a bucket the
    trait that it reads has them."""
    match trait.rule:
        case "avg":
            return (_keep(trait, "sum"), _keep(trait, "count"))
        case "recency":
            return (_keep(trait, "latest"),)
        case "bucket":
            return ()
        case rule:
            return (_keep(trait, rule),)


def index_of(keeps: Iterable[Aggregate]) -> Keeps:
    """The index of `keeps`, equal ones once."""
    by_key = {keep.key: keep for keep in keeps}
    names = {name for keep in by_key.values() for name in keep.names or ()}
    return Keeps(
        by_key=by_key,
        by_name={
            name: tuple(
                keep for keep in by_key.values() if keep.names is None or name in keep.names
            )
            for name in names
        },
        any_name=tuple(keep for keep in by_key.values() if keep.names is None),
    )


def _keep(trait: model.Trait, rule: KeepRule) -> Aggregate:
    when = compiled(trait.when)
    shape = Shape(rule, None if trait.window is None else duration_ms(trait.window))
    return Aggregate(
        key=_key(shape, trait),
        rule=shape.rule,
        window_ms=shape.window_ms,
        test=when.test,
        read=_reader(rule, trait),
        names=when.names,
        clears=_clears(trait.of) if rule == "latest" else None,
    )


def _clears(of: str | None) -> Callable[[Interaction], bool] | None:
    """As in Segment's API, a trait that is null in identify, or within an object that is."""
    section, _, path = (of or "").partition(".")
    if section != "properties":
        return None
    steps = path.split(".")
    names = frozenset(".".join(steps[:count]) for count in range(1, len(steps) + 1))

    def clears(interaction: Interaction) -> bool:
        given = interaction.properties
        return interaction.kind == "identify" and any(
            given.get(name, 0) is None for name in names & given.keys()
        )

    return clears


def keep_key(shape: Shape, name: str) -> str:
    """The key of what is kept in this shape under `name`."""
    return f"{shape.rule}{shape.window_ms or ''}.{name}"


@lru_cache(maxsize=10_000)
def shape_of(key: str) -> Shape:
    """The shape of what is kept under `key`."""
    head, _, _ = key.partition(".")
    rule = head.rstrip("0123456789")
    window = head.removeprefix(rule)
    return Shape(cast(KeepRule, rule), int(window) if window else None)


def _key(shape: Shape, trait: model.Trait) -> str:
    kept = (shape.rule, trait.of, trait.when, trait.window)
    name = blake2b(msgspec.json.encode(kept, order="sorted"), digest_size=6).hexdigest()
    return keep_key(shape, name)


def _reader(rule: KeepRule, trait: model.Trait) -> Read:
    if trait.rule in READS_NOTHING:
        return readers.one if trait.rule == "count" else readers.occurred_at
    assert trait.of is not None, trait
    read = readers.reader(trait.of)
    assert read is not None, trait
    return readers.one_per_number(read) if rule == "count" else read
