"""Sequences of interactions: the marks kept by a shard, and the time of the latest complete one.

Marks are kept instead of partial matches, so that shards can be merged and late interactions
inserted. Marks are sorted by (time, event id).

Of many marks only the needed ones are kept (`_needed_marks`): for interactions in order the result
is that of all marks. Only for late interactions, or those of another shard, among more than
`CROWDED` marks it is accurate to a pane.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from pipeline.conditions import Facts
from pipeline.config.compiled import CompiledSequence
from pipeline.model.time import GRACE_MS

CROWDED: Final = 160
"""Maximum of marks of a sequence in a shard; beyond it, unneeded ones are removed."""
RECENT: Final = 40
"""Number of latest marks, which are always kept."""
PANES: Final = 24
"""Number of panes of older marks, whose latest mark of each kind is kept: for the time that
conditions ask for, and again for the time in which late interactions may arrive."""


class Mark(Struct, frozen=True, array_like=True, order=True):
    """Interaction at `at` (ms) that fits a part: bit i of `fits` for step i, the next for
    `without`."""

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
    return tuple(sorted({entry for marks in several for entry in marks}))


def prune_marks(
    marks: tuple[Mark, ...], sequence: CompiledSequence, now_ms: int
) -> tuple[Mark, ...]:
    """Remove the marks that no condition reads any more."""
    oldest = now_ms - sequence.keep_ms
    if marks and marks[0].at < oldest:
        marks = tuple(entry for entry in marks if entry.at >= oldest)
    return marks if len(marks) <= CROWDED else _needed_marks(marks, sequence)


def completed_at(marks: Iterable[Mark], sequence: CompiledSequence) -> int | None:
    """Return the time (ms) at which the latest sequence was complete."""
    completed = _chains(marks, sequence)[-1]
    return completed[-1].at if completed else None


_Chain = tuple[Mark, ...]
"""The marks of the first steps of a sequence, one per step."""


def _chains(marks: Iterable[Mark], sequence: CompiledSequence) -> list[_Chain]:
    """Return, for each step except the last, the chain to it from the latest first step.

    The latest complete chain follows; a missing chain is empty.
    """
    last = sequence.steps - 1
    reached: list[_Chain] = [()] * last
    completed: _Chain = ()
    for entry in marks:
        if entry.fits >> sequence.steps:
            reached = [()] * last
        for step in range(last, 0, -1):
            before = reached[step - 1]
            if (
                not (before and entry.fits >> step & 1)
                or entry.at - before[0].at > sequence.within_ms
            ):
                continue
            if step == last:
                completed = (*before, entry)
            elif not reached[step] or reached[step][0] != before[0]:
                reached[step] = (*before, entry)
        if entry.fits & 1:
            reached[0] = (entry,)
    return [*reached, completed]


def _needed_marks(marks: Sequence[Mark], sequence: CompiledSequence) -> tuple[Mark, ...]:
    """Return the marks that later results may need.

    They are the latest marks, those of complete or continuable chains, the latest of each pane and
    kind; and between two of these a mark of `without` where there was one, so that no broken chain
    looks complete.
    """
    asked_ms = max(sequence.keep_ms - GRACE_MS, sequence.within_ms)
    kept = {
        *marks[-RECENT:],
        *_one_per_pane(marks, sequence.keep_ms),
        *_one_per_pane((entry for entry in marks if entry.at > marks[-1].at - asked_ms), asked_ms),
    }
    kept.update(entry for chain in _chains(marks, sequence) for entry in chain)
    needed: list[Mark] = []
    breaking: Mark | None = None
    for entry in marks:
        breaks = entry.fits >> sequence.steps
        if entry in kept:
            if breaking is not None and not breaks:
                needed.append(breaking)
            needed.append(entry)
            breaking = None
        elif breaks:
            breaking = entry
    return tuple(needed)


def _one_per_pane(marks: Iterable[Mark], span_ms: int) -> Iterable[Mark]:
    pane_ms = max(span_ms // PANES, 1)
    return {(entry.at // pane_ms, entry.fits): entry for entry in marks}.values()
