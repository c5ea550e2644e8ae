"""Aggregates over a profile's interactions, from which its traits are computed.

An aggregate's key follows from its definition: traits with the same definition share it, a renamed
trait keeps it, and a redefined trait begins anew. The key also gives the rule by which parts are
merged, so that aggregates that the configuration no longer has can still be merged.
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
from pipeline.config.conditions import compile_condition
from pipeline.model.interaction import Interaction

KeepRule: TypeAlias = Literal["count", "sum", "min", "max", "first", "latest", "distinct", "union"]

READS_NOTHING: Final = ("count", "recency")
"""Rules of traits without `of`."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Rule by which parts are merged, over `window_ms` (None: over a lifetime)."""

    rule: KeepRule
    window_ms: int | None


@dataclass(frozen=True, slots=True)
class Aggregate(Shape):
    """Definition of an aggregate: where `test` holds, `read` gives the value to add, if any.

    `names`: names of the interactions for which it can hold. `clears`: returns whether an
    interaction removes the value; None: no interaction can.
    """

    key: str
    test: Test
    read: Read
    names: frozenset[str] | None
    clears: Callable[[Interaction], bool] | None = None


@dataclass(frozen=True, slots=True)
class Keeps:
    """All aggregates by key, and those that an interaction of a name can change."""

    by_key: Mapping[str, Aggregate]
    by_name: Mapping[str, tuple[Aggregate, ...]]
    any_name: tuple[Aggregate, ...]

    def affected_by(self, interaction: Interaction) -> tuple[Aggregate, ...]:
        """Return the aggregates that `interaction` may change."""
        return self.by_name.get(interaction.name, self.any_name)


def keeps_for(trait: model.TraitDefinition) -> tuple[Aggregate, ...]:
    """Return the aggregates of a trait.

    An average has two, the sum and the count; a bucket has none, since the trait that it reads has
    them.
    """
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
    """Index aggregates, equal ones once."""
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


def _keep(trait: model.TraitDefinition, rule: KeepRule) -> Aggregate:
    when = compile_condition(trait.when)
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
    """Return a test for an identify that has the trait, or an object around it, as null."""
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
    """Return the key of an aggregate of this shape and name."""
    return f"{shape.rule}{shape.window_ms or ''}.{name}"


@lru_cache(maxsize=10_000)
def shape_of(key: str) -> Shape:
    """Return the shape of an aggregate by its key."""
    head, _, _ = key.partition(".")
    rule = head.rstrip("0123456789")
    window = head.removeprefix(rule)
    return Shape(cast(KeepRule, rule), int(window) if window else None)


def _key(shape: Shape, trait: model.TraitDefinition) -> str:
    kept = (shape.rule, trait.of, trait.when, trait.window)
    name = blake2b(msgspec.json.encode(kept, order="sorted"), digest_size=6).hexdigest()
    return keep_key(shape, name)


def _reader(rule: KeepRule, trait: model.TraitDefinition) -> Read:
    if trait.rule in READS_NOTHING:
        return readers.one if trait.rule == "count" else readers.occurred_at
    assert trait.of is not None, trait
    read = readers.reader(trait.of)
    assert read is not None, trait
    return readers.one_per_number(read) if rule == "count" else read
