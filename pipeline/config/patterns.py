"""State of each profile for the sequences and absences in conditions."""

from collections.abc import Iterable, Iterator
from typing import Final

from pipeline.conditions import CompiledCondition, Condition, compile
from pipeline.conditions import tree as conditions
from pipeline.conditions.reads import patterns
from pipeline.config import readers
from pipeline.config.aggregates import Aggregate, Shape, aggregate_key
from pipeline.config.compiled import CompiledSequence, CompiledTrait
from pipeline.model.time import GRACE_MS

_LATEST_TIME: Final = Shape("max", None)


def latest_times(trees: Iterable[Condition]) -> tuple[CompiledTrait, ...]:
    """Return the traits of all absences, each once."""
    traits = dict(_latest_times(trees))
    return tuple(traits[name] for name in sorted(traits))


def sequences(trees: Iterable[Condition]) -> tuple[CompiledSequence, ...]:
    """Return all sequences, each once, with the longest retention that a condition needs."""
    sequences_by_name: dict[str, CompiledSequence] = {}
    for tree in trees:
        for pattern in patterns(tree):
            if isinstance(pattern, conditions.Sequence):
                sequence = _sequence(pattern)
                previous = sequences_by_name.get(sequence.name)
                if previous is None or previous.retention_ms < sequence.retention_ms:
                    sequences_by_name[sequence.name] = sequence
    return tuple(sequences_by_name[name] for name in sorted(sequences_by_name))


def _latest_times(trees: Iterable[Condition]) -> Iterator[tuple[str, CompiledTrait]]:
    for tree in trees:
        for pattern in patterns(tree):
            if isinstance(pattern, conditions.Absence):
                for part in pattern.parts:
                    condition = compile(part)
                    name = conditions.latest_time_of(part)
                    aggregate = Aggregate(
                        rule=_LATEST_TIME.rule,
                        window_ms=_LATEST_TIME.window_ms,
                        key=aggregate_key(_LATEST_TIME, name),
                        test=condition.test,
                        read=readers.read_occurred_at,
                        names=condition.names,
                    )
                    yield name, CompiledTrait(name, "max", (aggregate,), is_timed=False)


def _sequence(pattern: conditions.Sequence) -> CompiledSequence:
    parts = [compile(part) for part in pattern.parts]
    return CompiledSequence(
        name=pattern.trait,
        step_count=len(pattern.steps),
        parts=tuple(part.test for part in parts),
        names=_names(parts),
        within_ms=pattern.within_ms,
        retention_ms=pattern.within_ms + pattern.for_ms + GRACE_MS,
    )


def _names(parts: Iterable[CompiledCondition]) -> frozenset[str] | None:
    """Return the names of interactions that may fit a part; None: any name."""
    names: set[str] = set()
    for part in parts:
        if part.names is None:
            return None
        names |= part.names
    return frozenset(names)
