"""Aggregates over a profile's interactions, from which its traits are computed.

An aggregate's key follows from its definition: traits with the same definition share it, a renamed
trait keeps it, and a redefined trait starts from nothing. The key also contains the rule by which
parts are merged, so that aggregates of an earlier configuration can still be merged.
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

MergeRule: TypeAlias = Literal["count", "sum", "min", "max", "first", "latest", "distinct", "union"]

RULES_WITHOUT_VALUE: Final = ("count", "recency")
"""Rules of traits that read no value (`of`)."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Rule by which parts are merged, over `window_ms` (None: over a lifetime)."""

    rule: MergeRule
    window_ms: int | None


@dataclass(frozen=True, slots=True)
class Aggregate(Shape):
    """Definition of an aggregate: where `test` holds, `read` returns the value to add, if any.

    `names`: names of the interactions for which `test` can hold; None: all. `clears`: returns
    whether an interaction clears the value; None: no interaction does.
    """

    key: str
    test: Test
    read: Read
    names: frozenset[str] | None
    clears: Callable[[Interaction], bool] | None = None


@dataclass(frozen=True, slots=True)
class AggregateIndex:
    """All aggregates by key, and those that an interaction can change, by its name.

    `any_name`: those for names that are not in `by_name`.
    """

    by_key: Mapping[str, Aggregate]
    by_name: Mapping[str, tuple[Aggregate, ...]]
    any_name: tuple[Aggregate, ...]

    def aggregates_affected_by(self, interaction: Interaction) -> tuple[Aggregate, ...]:
        """Return the aggregates that `interaction` may change."""
        return self.by_name.get(interaction.name, self.any_name)


def aggregates_of(trait: model.TraitDefinition) -> tuple[Aggregate, ...]:
    """Return the aggregates of a trait.

    An average has two, the sum and the count; a bucket has none, since the trait that it reads has
    them.
    """
    match trait.rule:
        case "avg":
            return (_aggregate(trait, "sum"), _aggregate(trait, "count"))
        case "recency":
            return (_aggregate(trait, "latest"),)
        case "bucket":
            return ()
        case rule:
            return (_aggregate(trait, rule),)


def index_aggregates(aggregates: Iterable[Aggregate]) -> AggregateIndex:
    """Index aggregates, equal ones once."""
    by_key = {aggregate.key: aggregate for aggregate in aggregates}
    names = {name for aggregate in by_key.values() for name in aggregate.names or ()}
    return AggregateIndex(
        by_key=by_key,
        by_name={
            name: tuple(
                aggregate
                for aggregate in by_key.values()
                if aggregate.names is None or name in aggregate.names
            )
            for name in names
        },
        any_name=tuple(aggregate for aggregate in by_key.values() if aggregate.names is None),
    )


def _aggregate(trait: model.TraitDefinition, rule: MergeRule) -> Aggregate:
    condition = compile_condition(trait.when)
    shape = Shape(rule, None if trait.window is None else duration_ms(trait.window))
    return Aggregate(
        key=_key(shape, trait),
        rule=shape.rule,
        window_ms=shape.window_ms,
        test=condition.test,
        read=_reader(rule, trait),
        names=condition.names,
        clears=_clearing_test(trait.of) if rule == "latest" else None,
    )


def _clearing_test(value_path: str | None) -> Callable[[Interaction], bool] | None:
    """Return a test whether an identify has the property, or an object around it, as null; None
    where the value is no property."""
    section, _, path = (value_path or "").partition(".")
    if section != "properties":
        return None
    steps = path.split(".")
    names = frozenset(".".join(steps[:count]) for count in range(1, len(steps) + 1))

    def clears(interaction: Interaction) -> bool:
        properties = interaction.properties
        return interaction.kind == "identify" and any(
            properties.get(name, 0) is None for name in names & properties.keys()
        )

    return clears


def aggregate_key(shape: Shape, name: str) -> str:
    """Return the key of an aggregate of this shape and name."""
    return f"{shape.rule}{shape.window_ms or ''}.{name}"


@lru_cache(maxsize=10_000)
def shape_of(key: str) -> Shape:
    """Return the shape of an aggregate by its key."""
    head, _, _ = key.partition(".")
    rule = head.rstrip("0123456789")
    window = head.removeprefix(rule)
    return Shape(cast(MergeRule, rule), int(window) if window else None)


def _key(shape: Shape, trait: model.TraitDefinition) -> str:
    definition = (shape.rule, trait.of, trait.when, trait.window)
    name = blake2b(msgspec.json.encode(definition, order="sorted"), digest_size=6).hexdigest()
    return aggregate_key(shape, name)


def _reader(rule: MergeRule, trait: model.TraitDefinition) -> Read:
    if trait.rule in RULES_WITHOUT_VALUE:
        return readers.count_one if trait.rule == "count" else readers.read_occurred_at
    assert trait.of is not None, trait
    read = readers.reader(trait.of)
    assert read is not None, trait
    return readers.count_numbers(read) if rule == "count" else read
