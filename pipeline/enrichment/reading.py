"""Traits of a profile at a moment, read from the aggregates of its shards."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial, reduce
from typing import Any, Final, TypeAlias

from pipeline.conditions.tree import is_hidden
from pipeline.config.aggregates import Aggregate
from pipeline.config.compiled import CompiledTrait
from pipeline.config.model import AggregateRule
from pipeline.config.names import approximate_trait, since_trait
from pipeline.enrichment import panes, sample, terms
from pipeline.enrichment.aggregates import floor, next_departure
from pipeline.enrichment.cells import COMBINE, MILLION, number, total
from pipeline.enrichment.state import AggregatePart, Panes, Shard, Value
from pipeline.model.interaction import FactValue

_TraitReader: TypeAlias = Callable[[CompiledTrait, Sequence[Shard], int], FactValue]


def values(
    traits: Sequence[CompiledTrait], shards: Sequence[Shard], now_ms: int
) -> Iterator[tuple[str, FactValue]]:
    """Yield the name and value of each known trait.

    NAME.approximate is true for an approximate value; NAME.since is the time (ms) before which
    interactions may be missing.
    """
    all_shards = with_backfills(shards)
    for trait in traits:
        if trait.rule == "distinct":
            yield from _distinct(trait, all_shards, now_ms)
        elif (value := _READERS[trait.rule](trait, all_shards, now_ms)) is not None:
            yield trait.name, value
    if all_shards is not shards:
        yield from _since_traits(traits, shards, now_ms)


def with_backfills(shards: Sequence[Shard]) -> Sequence[Shard]:
    """Return the shards and, after them, a shard of back-filled interactions for each; without
    back-fills, `shards` itself."""
    if not any(shard.begun for shard in shards):
        return shards
    return (*shards, *map(_backfill_shard, shards))


def _backfill_shard(shard: Shard) -> Shard:
    parts: dict[str, AggregatePart] = {
        key: backfill.part for key, backfill in shard.begun.items() if backfill.part is not None
    }
    return Shard(shard.first_seen, shard.last_seen, shard.clock, kept=parts)


def next_change(trait: CompiledTrait, shards: Sequence[Shard], now_ms: int) -> int | None:
    """Return the next time after `now_ms` at which time alone may change a trait with a window;
    None: there is none."""
    shortest_wait_ms = None
    for aggregate in trait.aggregates:
        floor_ms = floor(aggregate, now_ms)
        for shard in shards:
            at = next_departure(shard.kept.get(aggregate.key), floor_ms)
            if at is not None and (shortest_wait_ms is None or at - floor_ms < shortest_wait_ms):
                shortest_wait_ms = at - floor_ms
    return None if shortest_wait_ms is None else now_ms + shortest_wait_ms


def _parts(aggregate: Aggregate, shards: Sequence[Shard]) -> list[Any]:
    return [part for shard in shards if (part := shard.kept.get(aggregate.key)) is not None]


def _cells(aggregate: Aggregate, shards: Sequence[Shard], now_ms: int) -> Sequence[Any]:
    floor_ms = floor(aggregate, now_ms)
    cells: list[Any] = []
    for shard in shards:
        part = shard.kept.get(aggregate.key)
        if part is None:
            continue
        if isinstance(part, Panes):
            cells.extend(panes.cells_after(part, floor_ms))
        elif not isinstance(part, Value) or part.occurred_at > floor_ms:
            cells.append(part)
    return cells


def _add_up(aggregate: Aggregate, shards: Sequence[Shard], now_ms: int) -> int | None:
    """Return the sum; without interactions it is 0 in a window, unknown for a lifetime."""
    cells = _cells(aggregate, shards, now_ms)
    return total(cells) if cells or aggregate.window_ms is not None else None


def _since_traits(
    traits: Sequence[CompiledTrait], shards: Sequence[Shard], now_ms: int
) -> Iterator[tuple[str, FactValue]]:
    for trait in traits:
        since = max(_since_times(trait, shards, now_ms), default=None)
        if since is not None and not is_hidden(trait.name):
            yield since_trait(trait.name), since


def _since_times(trait: CompiledTrait, shards: Sequence[Shard], now_ms: int) -> Iterator[int]:
    for aggregate in trait.aggregates:
        for shard in shards:
            backfill = shard.begun.get(aggregate.key)
            if (
                backfill is not None
                and backfill.since is not None
                and backfill.since > floor(aggregate, now_ms)
            ):
                yield backfill.since


def _count(trait: CompiledTrait, shards: Sequence[Shard], now_ms: int) -> FactValue:
    return _add_up(trait.aggregates[0], shards, now_ms)


def _sum(trait: CompiledTrait, shards: Sequence[Shard], now_ms: int) -> FactValue:
    total_sum = _add_up(trait.aggregates[0], shards, now_ms)
    return None if total_sum is None else number(total_sum)


def _average(trait: CompiledTrait, shards: Sequence[Shard], now_ms: int) -> FactValue:
    total_sum, count = (_add_up(aggregate, shards, now_ms) for aggregate in trait.aggregates)
    return total_sum / (count * MILLION) if total_sum is not None and count else None


def _combined_value(trait: CompiledTrait, shards: Sequence[Shard], now_ms: int) -> FactValue:
    [aggregate] = trait.aggregates
    cells = _cells(aggregate, shards, now_ms)
    if not cells:
        return None
    cell = cells[0] if len(cells) == 1 else reduce(COMBINE[aggregate.rule], cells)
    return cell.value if isinstance(cell, Value) else cell


def _union(trait: CompiledTrait, shards: Sequence[Shard], now_ms: int) -> FactValue:
    [aggregate] = trait.aggregates
    parts = _parts(aggregate, shards)
    return (
        terms.terms_after(reduce(terms.merge, parts), floor(aggregate, now_ms)) or None
        if parts
        else None
    )


def _distinct(
    trait: CompiledTrait, shards: Sequence[Shard], now_ms: int
) -> Iterator[tuple[str, FactValue]]:
    [aggregate] = trait.aggregates
    parts = _parts(aggregate, shards)
    if not parts:
        if aggregate.window_ms is not None:
            yield trait.name, 0
        return
    union = reduce(partial(sample.merge, clock=now_ms), parts)
    count, is_exact = sample.count(union, floor(aggregate, now_ms))
    yield trait.name, count
    if not is_exact:
        yield approximate_trait(trait.name), True


_READERS: Final[dict[AggregateRule, _TraitReader]] = {
    "latest": _combined_value,
    "first": _combined_value,
    "recency": _combined_value,
    "min": _combined_value,
    "max": _combined_value,
    "count": _count,
    "sum": _sum,
    "avg": _average,
    "union": _union,
}
