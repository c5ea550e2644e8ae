"""One shard: what an interaction adds to it, and how two become one."""

from pipeline.conditions import Facts
from pipeline.config.compile import Configuration
from pipeline.enrichment.presence import latest_left
from pipeline.enrichment.sequences import Mark, mark, settle
from pipeline.enrichment.sequences import union as union_of_marks
from pipeline.enrichment.sessions import add, union
from pipeline.enrichment.sessions import settle as settle_spans
from pipeline.enrichment.state import Shard, Value
from pipeline.enrichment.traits import COMBINE
from pipeline.model.interaction import Interaction

MAX_IDENTIFIERS = 100
"""A shard remembers so many identifiers, the latest ones."""


def apply(shard: Shard | None, interaction: Interaction, config: Configuration) -> Shard:
    """The shard after `interaction`."""
    at = interaction.occurred_at
    before = shard or Shard(first_seen=at, last_seen=at)
    spans, ended = settle_spans(
        add(before.spans, at, config.session_gap_ms), interaction.received_at
    )
    return Shard(
        first_seen=min(before.first_seen, at),
        last_seen=max(before.last_seen, at),
        interactions=before.interactions + 1,
        identifiers=_identifiers(before.identifiers, interaction),
        left=before.left,
        traits=_traits(before.traits, interaction, config),
        spans=spans,
        ended=before.ended + ended,
        sequences=_sequences(before.sequences, interaction, config),
    )


def merge(a: Shard, b: Shard, config: Configuration) -> Shard:
    """Commutative and associative; as if both shards' interactions had come to one."""
    return Shard(
        first_seen=min(a.first_seen, b.first_seen),
        last_seen=max(a.last_seen, b.last_seen),
        interactions=a.interactions + b.interactions,
        identifiers=_latest_of(a.identifiers, b.identifiers),
        left=latest_left(a.left, b.left),
        traits=_combined(a.traits, b.traits, config),
        spans=union((*a.spans, *b.spans), config.session_gap_ms),
        ended=a.ended + b.ended,
        sequences={
            name: union_of_marks(a.sequences.get(name, ()), b.sequences.get(name, ()))
            for name in (*a.sequences, *b.sequences)
        },
    )


def _sequences(
    known: dict[str, tuple[Mark, ...]], interaction: Interaction, config: Configuration
) -> dict[str, tuple[Mark, ...]]:
    """Sequences that the configuration no longer has are forgotten."""
    if not (config.sequences or known):
        return known
    facts = Facts(interaction, {}, frozenset(), frozenset(), interaction.received_at)
    after = {}
    for sequence in config.sequences:
        new = mark(sequence, facts, interaction)
        marks = settle(known.get(sequence.name, ()), sequence, interaction.received_at)
        if new is not None:
            marks = union_of_marks(marks, (new,))
        if marks:
            after[sequence.name] = marks
    return after


def _identifiers(known: dict[str, int], interaction: Interaction) -> dict[str, int]:
    seen = {one.key: interaction.occurred_at for one in interaction.identifiers}
    if all(known.get(key, -1) >= at for key, at in seen.items()):
        return known
    return _latest_of(known, seen)


def _latest_of(a: dict[str, int], b: dict[str, int]) -> dict[str, int]:
    merged = {key: max(a.get(key, at), b.get(key, at)) for key, at in {**a, **b}.items()}
    if len(merged) <= MAX_IDENTIFIERS:
        return merged
    newest = sorted(merged.items(), key=lambda item: (-item[1], item[0]))[:MAX_IDENTIFIERS]
    return dict(newest)


def _traits(
    known: dict[str, Value], interaction: Interaction, config: Configuration
) -> dict[str, Value]:
    facts = Facts(interaction, {}, frozenset(), frozenset(), interaction.received_at)
    news = {
        trait.name: Value(value, interaction.occurred_at, interaction.event_id)
        for trait in config.traits
        if trait.test(facts) and (value := trait.read(interaction)) is not None
    }
    return _combined(known, news, config) if news else known


def _combined(a: dict[str, Value], b: dict[str, Value], config: Configuration) -> dict[str, Value]:
    combined = dict(a)
    for name, value in b.items():
        rule = config.trait_rules.get(name)
        if rule is None:
            continue
        mine = combined.get(name)
        combined[name] = value if mine is None else COMBINE[rule](mine, value)
    return combined
