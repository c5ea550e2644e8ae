"""Retention: the time after which Kafka removes deleted and expired records.

A tombstone deletes the older records of its key in a compacted topic once both are in closed
segments that have been cleaned; a later cleaning removes the tombstone. A segment is closed by the
first append after its time, so records must be appended regularly (`Cleaning.beat_ms`).
"""

from dataclasses import dataclass
from typing import Final

from pipeline.model.time import DAY_MS, HOUR_MS, MINUTE_MS

FOREVER: Final = -1.0
_PART_COUNT: Final = 5
"""Number of consecutive steps that each take at most a part: closing the segments (by a heartbeat),
the first cleaning, the tombstone's age, closing and cleaning again."""
_SEGMENT_COUNT: Final = 10
"""Number of segments in a retention period."""
_MAX_SEGMENT_MS: Final = 7 * DAY_MS
CLEANER_MS: Final = 10 * MINUTE_MS
"""Time within which the broker finds an expired segment and removes its file."""


@dataclass(frozen=True, slots=True)
class Cleaning:
    """Cleaning of compacted topics within `forget_hours` of the deletion of a row."""

    forget_hours: float

    @property
    def part_ms(self) -> int:
        """Longest time of each step."""
        return max(round(self.forget_hours * HOUR_MS / _PART_COUNT), 1)

    @property
    def beat_ms(self) -> int:
        """Interval at which a record must be appended to every partition."""
        return max(self.part_ms // 2, 1)

    @property
    def empty_row_ms(self) -> int:
        """Retention of a row without state, by which duplicates of its inputs are recognised."""
        return min(self.beat_ms, HOUR_MS)

    def compacted_properties(self) -> dict[str, str]:
        """Return topic properties for keeping the latest record of each key."""
        part = str(self.part_ms)
        return {
            "cleanup.policy": "compact",
            "segment.ms": part,
            "max.compaction.lag.ms": part,
            "delete.retention.ms": part,
        }


DAILY_CLEANING: Final = Cleaning(24.0)


def expiring_properties(hours: float) -> dict[str, str]:
    """Return topic properties for keeping each record for `hours` (`FOREVER`: always)."""
    if hours == FOREVER:
        return {"cleanup.policy": "delete", "retention.ms": "-1"}
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(round(hours * HOUR_MS)),
        "segment.ms": str(_segment_ms(hours)),
    }


def max_retention_ms(hours: float) -> int | None:
    """Return the longest life of a record, given that whole segments expire; None: for ever."""
    if hours == FOREVER:
        return None
    return round(hours * HOUR_MS) + _segment_ms(hours) + CLEANER_MS


def _segment_ms(hours: float) -> int:
    return max(min(round(hours * HOUR_MS) // _SEGMENT_COUNT, _MAX_SEGMENT_MS), 1)
