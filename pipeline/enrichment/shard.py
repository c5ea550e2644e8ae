"""Shards of profiles: the effect of an interaction, and merges."""

from collections.abc import Mapping

from pipeline.conditions import Facts
from pipeline.conditions.facts import NO_VALUES
from pipeline.config.aggregates import shape_of
from pipeline.config.compile import Configuration
from pipeline.enrichment.aggregates import is_counted, join, parts_of
from pipeline.enrichment.backfill import drop_expired, merge_backfills
from pipeline.enrichment.sequences import Mark, mark, prune_marks
from pipeline.enrichment.sequences import union as union_of_marks
from pipeline.enrichment.sessions import add, prune_spans, union
from pipeline.enrichment.state import AggregatePart, Shard
from pipeline.model.interaction import Interaction, Scalar

MAX_IDENTIFIERS = 100
"""Maximum of a shard's identifiers, the latest ones."""


def apply(
    shard: Shard | None,
    interaction: Interaction,
    config: Configuration,
    derived: Mapping[str, Scalar] = NO_VALUES,
) -> Shard:
    """Return the shard after `interaction`, with the enrichers' values in `derived`."""
    facts = Facts.of(interaction, derived)
    counts = is_counted(facts, config)
    at = interaction.occurred_at
    before = shard or Shard(first_seen=at, last_seen=at, clock=interaction.received_at)
    clock = max(before.clock, interaction.received_at)
    log = before.log
    if interaction.kind != "outcome":  # an outcome's sender has another clock
        log = interaction.source in config.log_sources
    spans, ended = prune_spans(add(before.spans, at, config.session_gap_ms), clock)
    return Shard(
        first_seen=min(before.first_seen, at),
        last_seen=max(before.last_seen, at),
        clock=clock,
        log=log,
        interactions=before.interactions + 1,
        identifiers=_identifiers(before.identifiers, interaction),
        kept=_aggregates(before.kept, facts, clock, config) if counts else before.kept,
        begun=drop_expired(before.begun, clock) if before.begun else before.begun,
        spans=spans,
        ended=before.ended + ended,
        sequences=_sequences(before.sequences, facts, config) if counts else before.sequences,
    )


def merge(a: Shard, b: Shard, config: Configuration) -> Shard:
    """Merge two shards into that of all interactions, commutatively and associatively."""
    clock = max(a.clock, b.clock)
    return Shard(
        first_seen=min(a.first_seen, b.first_seen),
        last_seen=max(a.last_seen, b.last_seen),
        clock=clock,
        log=a.log and b.log,
        interactions=a.interactions + b.interactions,
        identifiers=latest_of(a.identifiers, b.identifiers),
        kept={
            key: join(shape_of(key), a.kept.get(key), b.kept.get(key), clock)
            for key in {**a.kept, **b.kept}
        },
        begun=merge_backfills(a.begun, b.begun),
        spans=union((*a.spans, *b.spans), config.session_gap_ms),
        ended=a.ended + b.ended,
        sequences={
            name: union_of_marks(a.sequences.get(name, ()), b.sequences.get(name, ()))
            for name in (*a.sequences, *b.sequences)
        },
    )


def _sequences(
    known: dict[str, tuple[Mark, ...]], facts: Facts, config: Configuration
) -> dict[str, tuple[Mark, ...]]:
    """Add an interaction's marks to sequences; sequences of former configurations are dropped."""
    if not (config.sequences or known):
        return known
    after = {}
    for sequence in config.sequences:
        new = mark(sequence, facts)
        marks = prune_marks(known.get(sequence.name, ()), sequence, facts.now_ms)
        if new is not None:
            marks = union_of_marks(marks, (new,))
        if marks:
            after[sequence.name] = marks
    return after


def _identifiers(known: dict[str, int], interaction: Interaction) -> dict[str, int]:
    seen = {identifier.key: interaction.occurred_at for identifier in interaction.identifiers}
    if all(known.get(key, -1) >= at for key, at in seen.items()):
        return known
    return latest_of(known, seen)


def latest_of(a: dict[str, int], b: dict[str, int]) -> dict[str, int]:
    """Return the latest time of each, for at most `MAX_IDENTIFIERS` latest ones."""
    merged = {key: max(a.get(key, at), b.get(key, at)) for key, at in {**a, **b}.items()}
    if len(merged) <= MAX_IDENTIFIERS:
        return merged
    newest = sorted(merged.items(), key=lambda item: (-item[1], item[0]))[:MAX_IDENTIFIERS]
    return dict(newest)


def _aggregates(
    known: dict[str, AggregatePart], facts: Facts, clock: int, config: Configuration
) -> dict[str, AggregatePart]:
    """Return the aggregates after an interaction of the configuration in force.

    Aggregates of other configurations stay unchanged, since the next interaction may be of another
    one while a configuration comes into force.
    """
    kept = dict(known)
    for key, part in parts_of(facts, config):
        kept[key] = join(shape_of(key), known.get(key), part, clock)
    return kept
