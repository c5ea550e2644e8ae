"""Backlog: uncommitted and unprocessed records of partitions."""

from collections.abc import Collection, Mapping

from faust.types import TP
from msgspec import Struct

from agents.transport.progress import CommitProgress


class Backlog(Struct, frozen=True):
    """Backlog of the assigned partitions.

    `highwaters`, `beginnings`: the offset after the last record, and that of the first remaining
    record, where known.
    """

    highwaters: Mapping[TP, int]
    beginnings: Mapping[TP, int]
    partitions: Collection[TP]
    progress: CommitProgress

    def count_uncommitted(self, committed_offsets: Mapping[TP, int]) -> dict[TP, int]:
        """Count each partition's records past its committed offset, or all if it has none.

        Partitions whose watermarks are unknown are left out.
        """
        counts = {tp: self._count_records(tp, committed_offsets) for tp in self.partitions}
        return {tp: count for tp, count in counts.items() if count is not None}

    def count_unprocessed(self, partition: int, positions: Mapping[TP, int]) -> int | None:
        """Count the unprocessed records of `partition` in all topics; None if not known yet."""
        total = 0
        for tp in (tp for tp in self.partitions if tp.partition == partition):
            unread_count = self._count_records(tp, positions)
            if unread_count is None:
                return None
            total += unread_count + self.progress.count_unprocessed(tp)
        return total

    def _count_records(self, tp: TP, offsets: Mapping[TP, int]) -> int | None:
        end, beginning = self.highwaters.get(tp), self.beginnings.get(tp)
        if end is None or beginning is None:
            return None
        return max(end - max(offsets.get(tp, beginning), beginning), 0)
