"""Backlog: uncommitted and unprocessed records of partitions."""

from collections.abc import Collection, Mapping

from faust.types import TP
from msgspec import Struct

from agents.transport.progress import CommitProgress


class Backlog(Struct, frozen=True):
    """Backlog of the assigned partitions.

    `highwaters`, `beginnings`: offset after the last record, and of the first remaining one, where
    known.
    """

    highwaters: Mapping[TP, int]
    beginnings: Mapping[TP, int]
    partitions: Collection[TP]
    progress: CommitProgress

    def by_partition(self, committed: Mapping[TP, int]) -> dict[TP, int]:
        """Count the records past the committed offset, or all where nothing is committed.

        Partitions whose watermarks are unknown are left out.
        """
        counts = {tp: self._records_from(tp, committed) for tp in self.partitions}
        return {tp: count for tp, count in counts.items() if count is not None}

    def unprocessed(self, partition: int, positions: Mapping[TP, int]) -> int | None:
        """Count the unprocessed records of `partition` in all topics; None if not known yet."""
        total = 0
        for tp in (tp for tp in self.partitions if tp.partition == partition):
            unread = self._records_from(tp, positions)
            if unread is None:
                return None
            total += unread + self.progress.unprocessed_of(tp)
        return total

    def _records_from(self, tp: TP, offsets: Mapping[TP, int]) -> int | None:
        end, beginning = self.highwaters.get(tp), self.beginnings.get(tp)
        if end is None or beginning is None:
            return None
        return max(end - max(offsets.get(tp, beginning), beginning), 0)
