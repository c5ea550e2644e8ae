"""Progress of commits: offsets delivered to agents in order, and acknowledged by them."""

from collections import defaultdict, deque
from collections.abc import Mapping, MutableMapping

from faust.types import TP


class CommitProgress:
    """Offsets per partition between their delivery to agents and their commit.

    Faust's streams record acknowledgements in `acked_index` and `acked`, in any order.
    """

    def __init__(
        self, acked_index: MutableMapping[TP, set[int]], acked: MutableMapping[TP, list[int]]
    ) -> None:
        self._acked_index = acked_index
        self._acked = acked
        self._delivered: dict[TP, deque[int]] = defaultdict(deque)
        self._passed: dict[TP, int] = {}
        self._ready: dict[TP, int] = {}

    def record_delivery(self, tp: TP, offset: int) -> None:
        """Record that `offset` was delivered to an agent."""
        self._delivered[tp].append(offset)
        self._passed.pop(tp, None)

    def record_skip(self, tp: TP, next_offset: int) -> None:
        """Record that undelivered offsets below `next_offset` are no events."""
        self._passed[tp] = next_offset

    @property
    def unprocessed(self) -> int:
        """Number of events in progress: delivered and not acknowledged."""
        delivered = sum(len(offsets) for offsets in self._delivered.values())
        return delivered - sum(len(offsets) for offsets in self._acked_index.values())

    def unprocessed_of(self, tp: TP) -> int:
        """Return the number of events in progress of `tp`."""
        return len(self._delivered.get(tp, ())) - len(self._acked_index.get(tp, ()))

    @property
    def waiting(self) -> bool:
        """Whether processed offsets wait for a commit."""
        return bool(self._ready) or any(self._acked_index.values()) or bool(self._all_passed())

    def committable(self) -> dict[TP, int]:
        """Return the next offset to read of each partition with progress."""
        for tp, delivered in self._delivered.items():
            acked = self._acked_index.get(tp)
            while acked and delivered and delivered[0] in acked:
                offset = delivered.popleft()
                acked.discard(offset)
                self._ready[tp] = offset + 1
            if tp in self._acked:
                self._acked[tp].clear()
        for tp in self._all_passed():
            self._ready[tp] = self._passed.pop(tp)
        return dict(self._ready)

    def record_commit(self, offsets: Mapping[TP, int]) -> None:
        """Record that these offsets are committed."""
        for tp, offset in offsets.items():
            if self._ready.get(tp) == offset:
                del self._ready[tp]

    def reset(self) -> None:
        """Forget everything: partitions are read again from their committed offsets."""
        self._delivered.clear()
        self._acked_index.clear()
        self._acked.clear()
        self._passed.clear()
        self._ready.clear()

    def _all_passed(self) -> list[TP]:
        """Return the partitions with skipped offsets whose delivered events are acknowledged."""
        return [tp for tp in self._passed if not self._delivered.get(tp)]
