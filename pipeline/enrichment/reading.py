"""What a profile's traits are at a moment, from what its shards have kept."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial, reduce
from typing import Any, Final, TypeAlias

from pipeline.config.compiled import Trait
from pipeline.config.keeps import Keep
from pipeline.config.model import KeptRule
from pipeline.config.names import approximate
from pipeline.enrichment import panes, sample, terms
from pipeline.enrichment.cells import COMBINE, MILLION, number
from pipeline.enrichment.keeping import floor
from pipeline.enrichment.state import Kept, Panes, Sample, Shard, Terms, Value
from pipeline.model.interaction import Known

_Read: TypeAlias = Callable[[Trait, Sequence[Shard], int], Known]


def values(
    traits: Sequence[Trait], shards: Sequence[Shard], now_ms: int
) -> Iterator[tuple[str, Known]]:
    """Each trait that has a value, by its name; and NAME.approximate where that is so."""
    for trait in traits:
        if trait.rule == "distinct":
            yield from _distinct(trait, shards, now_ms)
        elif (value := _READ[trait.rule](trait, shards, now_ms)) is not None:
            yield trait.name, value


def next_change(trait: Trait, shards: Sequence[Shard], now_ms: int) -> int | None:
    """When time alone may next change the trait, which has a window; after `now_ms`."""
    soonest = None
    for keep in trait.keeps:
        low = floor(keep, now_ms)
        for shard in shards:
            at = _next_to_leave(shard.kept.get(keep.key), low)
            if at is not None and (soonest is None or at - low < soonest):
                soonest = at - low
    return None if soonest is None else now_ms + soonest


def _next_to_leave(kept: Kept, low: int) -> int | None:
    match kept:
        case Panes():
            return panes.next_to_leave(kept, low)
        case Sample():
            return sample.next_to_leave(kept, low)
        case Terms():
            return terms.next_to_leave(kept, low)
        case Value(_, at, _) if at > low:
            return at
    return None


def _parts(keep: Keep, shards: Sequence[Shard]) -> list[Any]:
    return [kept for shard in shards if (kept := shard.kept.get(keep.key)) is not None]


def _cells(keep: Keep, shards: Sequence[Shard], now_ms: int) -> Sequence[Any]:
    low = floor(keep, now_ms)
    cells: list[Any] = []
    for shard in shards:
        kept = shard.kept.get(keep.key)
        if kept is None:
            continue
        if isinstance(kept, Panes):
            cells.extend(panes.within(kept, low))
        elif not isinstance(kept, Value) or kept.occurred_at > low:
            cells.append(kept)
    return cells


def _added_up(keep: Keep, shards: Sequence[Shard], now_ms: int) -> int | None:
    """Nothing in a window is 0, nothing in a lifetime is not known."""
    cells = _cells(keep, shards, now_ms)
    return sum(cells) if cells or keep.window_ms is not None else None


def _count(trait: Trait, shards: Sequence[Shard], now_ms: int) -> Known:
    return _added_up(trait.keeps[0], shards, now_ms)


def _sum(trait: Trait, shards: Sequence[Shard], now_ms: int) -> Known:
    total = _added_up(trait.keeps[0], shards, now_ms)
    return None if total is None else number(total)


def _average(trait: Trait, shards: Sequence[Shard], now_ms: int) -> Known:
    total, count = (_added_up(keep, shards, now_ms) for keep in trait.keeps)
    return total / (count * MILLION) if total is not None and count else None


def _best(trait: Trait, shards: Sequence[Shard], now_ms: int) -> Known:
    [keep] = trait.keeps
    cells = _cells(keep, shards, now_ms)
    if not cells:
        return None
    best = cells[0] if len(cells) == 1 else reduce(COMBINE[keep.rule], cells)
    return best.value if isinstance(best, Value) else best


def _union(trait: Trait, shards: Sequence[Shard], now_ms: int) -> Known:
    [keep] = trait.keeps
    parts = _parts(keep, shards)
    return terms.within(reduce(terms.merge, parts), floor(keep, now_ms)) or None if parts else None


def _distinct(trait: Trait, shards: Sequence[Shard], now_ms: int) -> Iterator[tuple[str, Known]]:
    [keep] = trait.keeps
    parts = _parts(keep, shards)
    if not parts:
        if keep.window_ms is not None:
            yield trait.name, 0
        return
    whole = reduce(partial(sample.merge, clock=now_ms), parts)
    count, exact = sample.count(whole, floor(keep, now_ms))
    yield trait.name, count
    if not exact:
        yield approximate(trait.name), True


_READ: Final[dict[KeptRule, _Read]] = {
    "latest": _best,
    "first": _best,
    "recency": _best,
    "min": _best,
    "max": _best,
    "count": _count,
    "sum": _sum,
    "avg": _average,
    "union": _union,
}
