"""Sequences of interactions: the marks of a shard, and the time of the latest complete sequence.

A shard stores marks instead of partial matches, so that shards can be merged and late interactions
inserted. Marks are sorted by (time, event id).

Above `MAX_MARKS` marks, a shard retains only the needed ones (`_needed_marks`). The result is still
that of all marks for interactions in order; for late ones, or those of another shard, it is
accurate to a pane.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from pipeline.conditions import Facts
from pipeline.config.compiled import CompiledSequence
from pipeline.model.time import GRACE_MS

MAX_MARKS: Final = 160
"""Maximum of marks of a sequence in a shard; beyond it, unneeded ones are removed."""
LATEST_MARK_COUNT: Final = 40
"""Number of latest marks, which are always retained."""
PANE_COUNT: Final = 24
"""Number of panes of older marks, of which the latest mark of each kind is retained: for the time
that conditions ask for, and again for the time in which late interactions may arrive."""


class Mark(Struct, frozen=True, array_like=True, order=True):
    """Interaction at `at` (ms) that fits a part: bit i of `part_bits` for step i, the bit
    after the last step for the exclusion."""

    at: int
    event_id: str
    part_bits: int


def mark(sequence: CompiledSequence, facts: Facts) -> Mark | None:
    """Return the mark of an interaction; None when it fits no part."""
    interaction = facts.interaction
    if interaction is None:
        return None
    if sequence.names is not None and interaction.name not in sequence.names:
        return None
    part_bits = sum(1 << bit for bit, test in enumerate(sequence.parts) if test(facts))
    return Mark(interaction.occurred_at, interaction.event_id, part_bits) if part_bits else None


def union(*mark_sets: Iterable[Mark]) -> tuple[Mark, ...]:
    """Return all marks in order; commutative and associative."""
    return tuple(sorted({entry for marks in mark_sets for entry in marks}))


def prune_marks(
    marks: tuple[Mark, ...], sequence: CompiledSequence, now_ms: int
) -> tuple[Mark, ...]:
    """Return the marks without those that no condition reads any more."""
    earliest_at = now_ms - sequence.retention_ms
    if marks and marks[0].at < earliest_at:
        marks = tuple(entry for entry in marks if entry.at >= earliest_at)
    return marks if len(marks) <= MAX_MARKS else _needed_marks(marks, sequence)


def completion_at(marks: Iterable[Mark], sequence: CompiledSequence) -> int | None:
    """Return the time (ms) at which the latest sequence was complete; None: none is complete."""
    chain = _chains(marks, sequence)[-1]
    return chain[-1].at if chain else None


_Chain = tuple[Mark, ...]
"""The marks of the first steps of a sequence, one per step."""


def _chains(marks: Iterable[Mark], sequence: CompiledSequence) -> list[_Chain]:
    """Return, for each step except the last, the chain to it from the latest first step.

    The latest complete chain follows; a missing chain is empty.
    """
    last = sequence.step_count - 1
    chains: list[_Chain] = [()] * last
    complete_chain: _Chain = ()
    for entry in marks:
        if entry.part_bits >> sequence.step_count:
            chains = [()] * last
        for step in range(last, 0, -1):
            prefix = chains[step - 1]
            if (
                not (prefix and entry.part_bits >> step & 1)
                or entry.at - prefix[0].at > sequence.within_ms
            ):
                continue
            if step == last:
                complete_chain = (*prefix, entry)
            elif not chains[step] or chains[step][0] != prefix[0]:
                chains[step] = (*prefix, entry)
        if entry.part_bits & 1:
            chains[0] = (entry,)
    return [*chains, complete_chain]


def _needed_marks(marks: Sequence[Mark], sequence: CompiledSequence) -> tuple[Mark, ...]:
    """Return the marks that later results may need.

    They are the latest marks, the marks of complete or continuable chains, and the latest of each
    pane and kind. Between two of these, a mark of the exclusion is retained if there was one, so
    that no broken chain looks complete.
    """
    query_ms = max(sequence.retention_ms - GRACE_MS, sequence.within_ms)
    anchors = {
        *marks[-LATEST_MARK_COUNT:],
        *_latest_per_pane(marks, sequence.retention_ms),
        *_latest_per_pane(
            (entry for entry in marks if entry.at > marks[-1].at - query_ms), query_ms
        ),
    }
    anchors.update(entry for chain in _chains(marks, sequence) for entry in chain)
    selection: list[Mark] = []
    exclusion_mark: Mark | None = None
    for entry in marks:
        is_exclusion = entry.part_bits >> sequence.step_count
        if entry in anchors:
            if exclusion_mark is not None and not is_exclusion:
                selection.append(exclusion_mark)
            selection.append(entry)
            exclusion_mark = None
        elif is_exclusion:
            exclusion_mark = entry
    return tuple(selection)


def _latest_per_pane(marks: Iterable[Mark], span_ms: int) -> Iterable[Mark]:
    pane_ms = max(span_ms // PANE_COUNT, 1)
    return {(entry.at // pane_ms, entry.part_bits): entry for entry in marks}.values()
