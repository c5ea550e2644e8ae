"""Catching up of a ledger that was made anew from what was published of the lost one.

Feedback on an action may be in several partitions: what is counted must be known, in all of them,
before what is not.
"""

from collections.abc import Callable, Iterable, Mapping
from threading import Event

from pipeline.learner.decision_log import DecisionBatch, DecisionSource
from pipeline.learner.ledger import EvidenceLedger


def catch_up(
    source: DecisionSource,
    ledger: EvidenceLedger,
    fold: Callable[[DecisionBatch], None],
    stopped: Event,
) -> None:
    """Have `fold` count again what the ledger contains already, then read all partitions from
    there on."""
    for offsets in ledger.restored_up_to():
        unread = _unread(source, ledger, offsets)
        source.assign(_positions(ledger, unread))
        while unread and not stopped.is_set():
            fold(source.read().before(unread))
            unread = _unread(source, ledger, offsets)
    source.assign(_positions(ledger, range(source.partitions)))


def _unread(
    source: DecisionSource, ledger: EvidenceLedger, offsets: Mapping[str, int]
) -> dict[int, int]:
    """Return the partitions of which something before `offsets` is unread, with the offset after
    that."""
    unread = {}
    for name, end in offsets.items():
        partition, begin = int(name), ledger.state.offsets.get(name, 0)
        if begin < end:
            low, high = source.bounds(partition)
            if max(begin, low) < min(end, high):
                unread[partition] = min(end, high)
    return unread


def _positions(ledger: EvidenceLedger, partitions: Iterable[int]) -> dict[int, int]:
    """Return where the ledger goes on reading."""
    return {one: ledger.state.offsets.get(str(one), 0) for one in partitions}
