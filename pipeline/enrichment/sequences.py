"""Sequences of interactions: the marks that a shard keeps of them, and when the last was complete.

Marks are kept and not partial matches, so that shards can be merged, and late interactions take
their place.
"""

from collections.abc import Iterable
from heapq import nlargest

from msgspec import Struct

from pipeline.conditions import Facts
from pipeline.config.compiled import Sequence

MAX_MARKS = 100
"""A shard keeps so many marks of one sequence, the latest ones."""


class Mark(Struct, frozen=True, array_like=True, order=True):
    """An interaction at `at` (ms) that fits some part: bit i for step i, the next for `without`."""

    at: int
    event_id: str
    fits: int


def mark(sequence: Sequence, facts: Facts) -> Mark | None:
    """Of an interaction; None when it fits no part."""
    interaction = facts.interaction
    if interaction is None:
        return None
    if sequence.names is not None and interaction.name not in sequence.names:
        return None
    fits = sum(1 << bit for bit, test in enumerate(sequence.parts) if test(facts))
    return Mark(interaction.occurred_at, interaction.event_id, fits) if fits else None


def union(*several: Iterable[Mark]) -> tuple[Mark, ...]:
    """The latest marks of all, in order; commutative and associative."""
    return tuple(sorted(nlargest(MAX_MARKS, {one for marks in several for one in marks})))


def settle(marks: tuple[Mark, ...], sequence: Sequence, now_ms: int) -> tuple[Mark, ...]:
    """Without those that no condition can ask for any more."""
    oldest = now_ms - sequence.keep_ms
    if not marks or marks[0].at >= oldest:
        return marks
    return tuple(one for one in marks if one.at >= oldest)


def completed_at(marks: Iterable[Mark], sequence: Sequence) -> int | None:
    """When (ms) the latest sequence was complete. `starts[i]`: the latest first step from which
    step i was reached."""
    last = sequence.steps - 1
    starts: list[int | None] = [None] * sequence.steps
    completed = None
    for one in marks:
        if one.fits >> sequence.steps:
            starts = [None] * sequence.steps
        for step in range(last, 0, -1):
            start = starts[step - 1]
            if one.fits >> step & 1 and start is not None and one.at - start <= sequence.within_ms:
                starts[step] = start
                completed = one.at if step == last else completed
        if one.fits & 1:
            starts[0] = one.at
    return completed
