"""Sequences of interactions: the marks that a shard keeps of them, and when the last was complete.

Marks are kept and not partial matches, so that shards can be merged, and late interactions take
their place. Marks are in the order of (time, event id), also those of one millisecond.

Of many marks those are kept that the answer needs, see `_needed`: for what comes in its order the
answer is that of all marks, however many there were. Only what comes late, or to another shard,
among more than `CROWDED` others meets what was kept of them, and is right to a pane.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from pipeline.conditions import Facts
from pipeline.config.compiled import CompiledSequence
from pipeline.model.time import GRACE_MS

CROWDED: Final = 160
"""Most marks of a sequence in a shard before those that no answer needs are removed."""
RECENT: Final = 40
"""Latest marks, which are kept in any case."""
PANES: Final = 24
"""Panes of older marks, of which the latest of each kind are kept: those of the time that is asked
for, and as many of the whole time for which late interactions may come."""


class Mark(Struct, frozen=True, array_like=True, order=True):
    """Interaction at `at` (ms) that fits some part: bit i for step i, the next for `without`."""

    at: int
    event_id: str
    fits: int


def mark(sequence: CompiledSequence, facts: Facts) -> Mark | None:
    """Return the mark of an interaction; None when it fits no part."""
    interaction = facts.interaction
    if interaction is None:
        return None
    if sequence.names is not None and interaction.name not in sequence.names:
        return None
    fits = sum(1 << bit for bit, test in enumerate(sequence.parts) if test(facts))
    return Mark(interaction.occurred_at, interaction.event_id, fits) if fits else None


def union(*several: Iterable[Mark]) -> tuple[Mark, ...]:
    """Return all marks in order; commutative and associative."""
    return tuple(sorted({one for marks in several for one in marks}))


def prune_marks(
    marks: tuple[Mark, ...], sequence: CompiledSequence, now_ms: int
) -> tuple[Mark, ...]:
    """Remove the marks that no condition can ask for any more."""
    oldest = now_ms - sequence.keep_ms
    if marks and marks[0].at < oldest:
        marks = tuple(one for one in marks if one.at >= oldest)
    return marks if len(marks) <= CROWDED else _needed_marks(marks, sequence)


def completed_at(marks: Iterable[Mark], sequence: CompiledSequence) -> int | None:
    """Return when (ms) the latest sequence was complete."""
    completed = _chains(marks, sequence)[-1]
    return completed[-1].at if completed else None


_Chain = tuple[Mark, ...]
"""The marks of the first steps of a sequence, one per step."""


def _chains(marks: Iterable[Mark], sequence: CompiledSequence) -> list[_Chain]:
    """Return, for each step but the last, the chain to it from the latest first step.

    Then the latest complete chain; empty where there is none.
    """
    last = sequence.steps - 1
    reached: list[_Chain] = [()] * last
    completed: _Chain = ()
    for one in marks:
        if one.fits >> sequence.steps:
            reached = [()] * last
        for step in range(last, 0, -1):
            before = reached[step - 1]
            if not (before and one.fits >> step & 1) or one.at - before[0].at > sequence.within_ms:
                continue
            if step == last:
                completed = (*before, one)
            elif not reached[step] or reached[step][0] != before[0]:
                reached[step] = (*before, one)
        if one.fits & 1:
            reached[0] = (one,)
    return [*reached, completed]


def _needed_marks(marks: Sequence[Mark], sequence: CompiledSequence) -> tuple[Mark, ...]:
    """Return the marks that later answers may need.

    The latest ones, those of chains that a later mark may continue or that are complete, the latest
    of each pane and kind; and between two of these one of `without` where there was one, so that no
    broken chain looks complete.
    """
    asked_ms = max(sequence.keep_ms - GRACE_MS, sequence.within_ms)
    kept = {
        *marks[-RECENT:],
        *_one_per_pane(marks, sequence.keep_ms),
        *_one_per_pane((one for one in marks if one.at > marks[-1].at - asked_ms), asked_ms),
    }
    kept.update(one for chain in _chains(marks, sequence) for one in chain)
    needed: list[Mark] = []
    breaking: Mark | None = None
    for one in marks:
        breaks = one.fits >> sequence.steps
        if one in kept:
            if breaking is not None and not breaks:
                needed.append(breaking)
            needed.append(one)
            breaking = None
        elif breaks:
            breaking = one
    return tuple(needed)


def _one_per_pane(marks: Iterable[Mark], span_ms: int) -> Iterable[Mark]:
    pane_ms = max(span_ms // PANES, 1)
    return {(one.at // pane_ms, one.fits): one for one in marks}.values()
