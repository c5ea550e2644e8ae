"""Aggregates of interactions. Each kind is a commutative monoid: an interaction makes a part, and
two parts merge into one.
"""

from collections.abc import Iterator
from typing import Final

from pipeline.conditions import Facts
from pipeline.config.aggregates import Aggregate, Shape
from pipeline.config.compile import Configuration
from pipeline.config.derived import BOT
from pipeline.enrichment import panes, sample, terms
from pipeline.enrichment.cells import COMBINE, millionths
from pipeline.enrichment.state import AggregatePart, Cell, Panes, Sample, Terms, Value
from pipeline.model.interaction import FactValue, Interaction

_BEGINNING_MS: Final = -(1 << 53)


def floor(aggregate: Shape, now_ms: int) -> int:
    """Return the last moment (ms) before the window; for a lifetime, one before all others."""
    return _BEGINNING_MS if aggregate.window_ms is None else now_ms - aggregate.window_ms


def is_counted(facts: Facts, config: Configuration) -> bool:
    """Return whether the interaction counts; one of a bot only where the configuration counts
    bots."""
    return config.counts_bots or facts.derived_values.get(BOT) is not True


def parts_of(facts: Facts, config: Configuration) -> Iterator[tuple[str, AggregatePart]]:
    """Yield the part that a counted interaction adds to each aggregate, with the aggregate's
    key."""
    if facts.interaction is not None:
        for aggregate in config.aggregates.aggregates_affected_by(facts.interaction):
            if (part := part_of(aggregate, facts)) is not None:
                yield aggregate.key, part


def part_of(aggregate: Aggregate, facts: Facts) -> AggregatePart:
    """Return the part that an interaction adds to an aggregate; None: it adds nothing."""
    interaction = facts.interaction
    if interaction is None or not aggregate.test(facts):
        return None
    value = aggregate.read(facts)
    if value is None:
        return _clearing_part(aggregate, interaction)
    at = interaction.occurred_at
    match aggregate.rule:
        case "distinct":
            return sample.of(value, 0 if aggregate.window_ms is None else at)
        case "union":
            return terms.of(value, at)
        case "latest":
            return Value(value, interaction.occurred_at, interaction.event_id)
    cell = _cell(aggregate, value, interaction)
    if aggregate.window_ms is None or cell is None:
        return cell
    return Panes((at,), (cell,))


def _clearing_part(aggregate: Aggregate, interaction: Interaction) -> AggregatePart:
    """Return the part that clears a value, sorted by time like values."""
    if aggregate.clears is None or not aggregate.clears(interaction):
        return None
    return Value(None, interaction.occurred_at, interaction.event_id)


def _cell(aggregate: Aggregate, value: FactValue, interaction: Interaction) -> Cell:
    """Return the cell of one interaction; None: a list has no sum, minimum or maximum, and text no
    sum."""
    if aggregate.rule == "first":
        return Value(value, interaction.occurred_at, interaction.event_id)
    if isinstance(value, tuple):
        return None
    return millionths(value) if aggregate.rule == "sum" else value


def join(aggregate: Shape, a: AggregatePart, b: AggregatePart, clock: int) -> AggregatePart:
    """Merge two parts into the part of all their interactions; `clock` (ms): the latest receipt."""
    match a, b:
        case None, _:
            return b
        case _, None:
            return a
        case Panes(), Panes():
            assert aggregate.window_ms is not None
            pane_ms = panes.pane_length_ms(aggregate.window_ms)
            floor_ms = floor(aggregate, clock)
            a, b = panes.prune(a, floor_ms, pane_ms), panes.prune(b, floor_ms, pane_ms)
            return panes.merge(a, b, pane_ms, COMBINE[aggregate.rule])
        case Sample(), Sample():
            floor_ms = floor(aggregate, clock)
            return sample.merge(sample.prune(a, floor_ms), sample.prune(b, floor_ms), clock)
        case Terms(), Terms():
            floor_ms = floor(aggregate, clock)
            return terms.merge(terms.prune(a, floor_ms), terms.prune(b, floor_ms))
        case _:
            return COMBINE[aggregate.rule](a, b)


def next_departure(part: AggregatePart, floor_ms: int) -> int | None:
    """Return the first moment after `floor_ms` (ms) of an entry in a window's part; None: there is
    none."""
    match part:
        case Panes():
            return panes.next_departure(part, floor_ms)
        case Sample():
            return sample.next_departure(part, floor_ms)
        case Terms():
            return terms.next_departure(part, floor_ms)
        case Value(_, at, _) if at > floor_ms:
            return at
    return None
