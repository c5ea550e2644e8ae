"""Catch-up of a ledger that was recreated from the published state of a lost one.

Feedback on an action may be in several partitions: all feedback that is counted already, in every
partition, must be folded before any new feedback is read.
"""

from collections.abc import Callable, Iterable, Mapping
from threading import Event

from pipeline.learner.decision_log import DecisionBatch, DecisionSource
from pipeline.learner.ledger import EvidenceLedger


def catch_up(
    source: DecisionSource,
    ledger: EvidenceLedger,
    fold: Callable[[DecisionBatch], None],
    stop_event: Event,
) -> None:
    """Fold the records that the restored state counts already, then assign all partitions at the
    ledger's positions."""
    for offsets in ledger.restored_offsets():
        ends = _unread_ends(source, ledger, offsets)
        source.assign(_positions(ledger, ends))
        while ends and not stop_event.is_set():
            fold(source.read().part_before(ends))
            ends = _unread_ends(source, ledger, offsets)
    source.assign(_positions(ledger, range(source.partitions)))


def _unread_ends(
    source: DecisionSource, ledger: EvidenceLedger, offsets: Mapping[str, int]
) -> dict[int, int]:
    """Return the partitions with unread records before `offsets`, with the offset after these."""
    ends = {}
    for name, end in offsets.items():
        partition, offset = int(name), ledger.state.offsets.get(name, 0)
        if offset < end:
            first_offset, end_offset = source.bounds(partition)
            if max(offset, first_offset) < min(end, end_offset):
                ends[partition] = min(end, end_offset)
    return ends


def _positions(ledger: EvidenceLedger, partitions: Iterable[int]) -> dict[int, int]:
    """Return the offsets at which the ledger resumes."""
    return {partition: ledger.state.offsets.get(str(partition), 0) for partition in partitions}
