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
    derived_values: Mapping[str, Scalar] = NO_VALUES,
) -> Shard:
    """Return the shard after `interaction`, with the enrichers' values in `derived_values`."""
    facts = Facts.of(interaction, derived_values)
    is_included = is_counted(facts, config)
    at = interaction.occurred_at
    old_shard = shard or Shard(first_seen=at, last_seen=at, clock=interaction.received_at)
    clock = max(old_shard.clock, interaction.received_at)
    log = old_shard.log
    if interaction.kind != "outcome":  # an outcome's sender has another clock
        log = interaction.source in config.log_sources
    spans, ended_count = prune_spans(add(old_shard.spans, at, config.session_gap_ms), clock)
    return Shard(
        first_seen=min(old_shard.first_seen, at),
        last_seen=max(old_shard.last_seen, at),
        clock=clock,
        log=log,
        interactions=old_shard.interactions + 1,
        identifiers=_identifiers(old_shard.identifiers, interaction),
        kept=_aggregates(old_shard.kept, facts, clock, config) if is_included else old_shard.kept,
        begun=drop_expired(old_shard.begun, clock) if old_shard.begun else old_shard.begun,
        spans=spans,
        ended=old_shard.ended + ended_count,
        sequences=_sequences(old_shard.sequences, facts, config)
        if is_included
        else old_shard.sequences,
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
    sequences: dict[str, tuple[Mark, ...]], facts: Facts, config: Configuration
) -> dict[str, tuple[Mark, ...]]:
    """Return the marks with those of an interaction; sequences of former configurations are
    dropped."""
    if not (config.sequences or sequences):
        return sequences
    retained_marks = {}
    for sequence in config.sequences:
        new_mark = mark(sequence, facts)
        marks = prune_marks(sequences.get(sequence.name, ()), sequence, facts.now_ms)
        if new_mark is not None:
            marks = union_of_marks(marks, (new_mark,))
        if marks:
            retained_marks[sequence.name] = marks
    return retained_marks


def _identifiers(identifiers: dict[str, int], interaction: Interaction) -> dict[str, int]:
    times = {identifier.key: interaction.occurred_at for identifier in interaction.identifiers}
    if all(identifiers.get(key, -1) >= at for key, at in times.items()):
        return identifiers
    return latest_of(identifiers, times)


def latest_of(a: dict[str, int], b: dict[str, int]) -> dict[str, int]:
    """Return the latest time (ms) of each identifier, for the `MAX_IDENTIFIERS` latest ones."""
    times = {key: max(a.get(key, at), b.get(key, at)) for key, at in {**a, **b}.items()}
    if len(times) <= MAX_IDENTIFIERS:
        return times
    latest_items = sorted(times.items(), key=lambda item: (-item[1], item[0]))[:MAX_IDENTIFIERS]
    return dict(latest_items)


def _aggregates(
    parts: dict[str, AggregatePart], facts: Facts, clock: int, config: Configuration
) -> dict[str, AggregatePart]:
    """Return the aggregates after an interaction of the configuration in force.

    Aggregates of other configurations stay unchanged: while a configuration comes into force, the
    next interaction may be stamped with another one.
    """
    new_parts = dict(parts)
    for key, part in parts_of(facts, config):
        new_parts[key] = join(shape_of(key), parts.get(key), part, clock)
    return new_parts
