"""Progress of commits: offsets delivered to agents in order, and acknowledged by them."""

from collections import defaultdict, deque
from collections.abc import Mapping, MutableMapping

from faust.types import TP


class CommitProgress:
    """Offsets per partition between their delivery to agents and their commit.

    Faust's streams add acknowledged offsets to both `acked_index` and `acknowledgements`, in any
    order.
    """

    def __init__(
        self,
        acked_index: MutableMapping[TP, set[int]],
        acknowledgements: MutableMapping[TP, list[int]],
    ) -> None:
        self._acked_index = acked_index
        self._acknowledgements = acknowledgements
        self._deliveries: dict[TP, deque[int]] = defaultdict(deque)
        self._skip_ends: dict[TP, int] = {}
        self._ready_offsets: dict[TP, int] = {}

    def record_delivery(self, tp: TP, offset: int) -> None:
        """Record that `offset` was delivered to an agent."""
        self._deliveries[tp].append(offset)
        self._skip_ends.pop(tp, None)

    def record_skip(self, tp: TP, next_offset: int) -> None:
        """Record that undelivered offsets below `next_offset` are no events."""
        self._skip_ends[tp] = next_offset

    @property
    def unprocessed_count(self) -> int:
        """Number of events in progress: delivered and not acknowledged."""
        delivery_count = sum(len(offsets) for offsets in self._deliveries.values())
        return delivery_count - sum(len(offsets) for offsets in self._acked_index.values())

    def count_unprocessed(self, tp: TP) -> int:
        """Return the number of events in progress of `tp`."""
        return len(self._deliveries.get(tp, ())) - len(self._acked_index.get(tp, ()))

    @property
    def has_committable_offsets(self) -> bool:
        """Whether processed offsets wait for a commit."""
        return (
            bool(self._ready_offsets)
            or any(self._acked_index.values())
            or bool(self._fully_processed_partitions())
        )

    def collect_committable_offsets(self) -> dict[TP, int]:
        """Record the acknowledgements so far; return the next offset to read of each partition with
        progress."""
        for tp, offsets in self._deliveries.items():
            acks = self._acked_index.get(tp)
            while acks and offsets and offsets[0] in acks:
                offset = offsets.popleft()
                acks.discard(offset)
                self._ready_offsets[tp] = offset + 1
            if tp in self._acknowledgements:
                self._acknowledgements[tp].clear()
        for tp in self._fully_processed_partitions():
            self._ready_offsets[tp] = self._skip_ends.pop(tp)
        return dict(self._ready_offsets)

    def record_commit(self, offsets: Mapping[TP, int]) -> None:
        """Record that these offsets are committed."""
        for tp, offset in offsets.items():
            if self._ready_offsets.get(tp) == offset:
                del self._ready_offsets[tp]

    def reset(self) -> None:
        """Drop all progress: partitions are read again from their committed offsets."""
        self._deliveries.clear()
        self._acked_index.clear()
        self._acknowledgements.clear()
        self._skip_ends.clear()
        self._ready_offsets.clear()

    def _fully_processed_partitions(self) -> list[TP]:
        """Return the partitions with skipped offsets whose delivered events are acknowledged."""
        return [tp for tp in self._skip_ends if not self._deliveries.get(tp)]
