"""Back-fill of aggregates that a configuration introduces, in every shard.

An interaction counts in an aggregate of its shard if the configuration stamped on it has that
aggregate. Other interactions are aggregated from the log, which has the stamps too, and stored
apart, so that a second `fill` changes nothing.
"""

from msgspec import Struct
from msgspec.structs import replace

from pipeline.config.aggregates import shape_of
from pipeline.enrichment.aggregates import floor, next_departure
from pipeline.enrichment.sequences import Mark, union
from pipeline.enrichment.state import Backfill, Shard


class NewAggregates(Struct, frozen=True):
    """Aggregates that the configuration applied at `run` (ms) introduces, by key, and the keys and
    sequences (`gone`) that are dropped."""

    run: int
    aggregates: tuple[str, ...]
    gone: tuple[str, ...]


class ShardHistory(Struct, frozen=True):
    """Earlier interactions of one shard: back-fills by the aggregate's key, marks by the sequence's
    name."""

    begun: dict[str, Backfill]
    sequences: dict[str, tuple[Mark, ...]]


def begin(shard: Shard, beginning: NewAggregates) -> Shard:
    """Return the shard without the dropped keys, and with new aggregates, which lack earlier
    interactions until the log is read."""
    removed_keys = frozenset(beginning.gone)
    backfills = {key: backfill for key, backfill in shard.begun.items() if key not in removed_keys}
    for key in beginning.aggregates:
        if key not in backfills or backfills[key].run < beginning.run:
            backfills[key] = Backfill(beginning.run, since=shard.clock)
    return replace(
        shard,
        begun=backfills,
        kept={key: part for key, part in shard.kept.items() if key not in removed_keys},
        sequences={
            name: marks for name, marks in shard.sequences.items() if name not in removed_keys
        },
    )


def fill(shard: Shard, history: ShardHistory) -> Shard:
    """Return the shard with the log's totals of earlier interactions."""
    cells = {key: _complete_if_older(shard, backfill) for key, backfill in history.begun.items()}
    sequences = shard.sequences
    marks = {
        name: union(sequences.get(name, ()), new_marks)
        for name, new_marks in history.sequences.items()
    }
    return replace(
        shard, begun=merge_backfills(shard.begun, cells), sequences={**sequences, **marks}
    )


def _complete_if_older(shard: Shard, backfill: Backfill) -> Backfill:
    """Return the back-fill, complete (no `since`) if the log begins before the shard did."""
    since = backfill.since
    return (
        replace(backfill, since=None)
        if since is not None and shard.first_seen > since
        else backfill
    )


def merge_backfills(a: dict[str, Backfill], b: dict[str, Backfill]) -> dict[str, Backfill]:
    """Return the union, with the more complete back-fill of common keys. Commutative, associative
    and idempotent."""
    if not (a and b):
        return a or b
    better_backfills = {
        key: backfill
        for key, backfill in b.items()
        if key not in a or _rank(backfill) > _rank(a[key])
    }
    return {**a, **better_backfills}


def _rank(backfill: Backfill) -> tuple[int, int, bool, int]:
    return (backfill.run, backfill.interaction_count, backfill.since is None, backfill.since or 0)


def drop_expired(backfills: dict[str, Backfill], clock: int) -> dict[str, Backfill]:
    """Return the back-fills without those whose window no longer reaches an interaction."""
    expired_keys = [key for key, backfill in backfills.items() if _is_expired(key, backfill, clock)]
    return (
        {key: backfill for key, backfill in backfills.items() if key not in expired_keys}
        if expired_keys
        else backfills
    )


def _is_expired(key: str, backfill: Backfill, clock: int) -> bool:
    shape = shape_of(key)
    floor_ms = floor(shape, clock)
    if shape.window_ms is None or (backfill.since is not None and backfill.since > floor_ms):
        return False
    return next_departure(backfill.part, floor_ms) is None
