"""How soon Kafka cleans its topics: for how long one still has what was deleted or has expired.

Of a compacted topic a tombstone deletes the older records of its key once both are in segments
that are closed and cleaned; it is itself removed by a later cleaning. A segment is closed at the
first append after its time, so somebody must append now and then (`Cleaning.beat_ms`).
"""

from dataclasses import dataclass
from typing import Final

from pipeline.model.time import DAY_MS, HOUR_MS, MINUTE_MS

FOREVER: Final = -1.0
_PARTS: Final = 5
"""What one after the other takes a part at most: closing the segments (and the beat that does it),
the first cleaning, the tombstone's age, closing and cleaning once more."""
_OF_RETENTION: Final = 10
_LONGEST_SEGMENT_MS: Final = 7 * DAY_MS
CLEANER_MS: Final = 10 * MINUTE_MS
"""Time within which the broker looks at a segment that has expired, and removes its file."""


@dataclass(frozen=True, slots=True)
class Cleaning:
    """`forget_hours`: so long after a row was deleted nothing of it is left in compacted topics."""

    forget_hours: float

    @property
    def part_ms(self) -> int:
        """The time of each step on the way."""
        return max(round(self.forget_hours * HOUR_MS / _PARTS), 1)

    @property
    def beat_ms(self) -> int:
        """How often something must be appended to every partition."""
        return max(self.part_ms // 2, 1)

    @property
    def empty_kept_ms(self) -> int:
        """How long a row without state may stay, so that copies of its inputs are known."""
        return min(self.beat_ms, HOUR_MS)

    def compacted(self) -> dict[str, str]:
        """Topic properties of a topic that keeps the latest record of each key."""
        part = str(self.part_ms)
        return {
            "cleanup.policy": "compact",
            "segment.ms": part,
            "max.compaction.lag.ms": part,
            "delete.retention.ms": part,
        }


DAILY: Final = Cleaning(24.0)


def expiring(hours: float) -> dict[str, str]:
    """Topic properties of a topic that keeps each record for so long (`FOREVER`: always)."""
    if hours == FOREVER:
        return {"cleanup.policy": "delete", "retention.ms": "-1"}
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(round(hours * HOUR_MS)),
        "segment.ms": str(_segment_ms(hours)),
    }


def longest_kept_ms(hours: float) -> int | None:
    """How long at most a record stays of such a topic, which expires by whole segments; None:
    for ever."""
    if hours == FOREVER:
        return None
    return round(hours * HOUR_MS) + _segment_ms(hours) + CLEANER_MS


def _segment_ms(hours: float) -> int:
    return max(min(round(hours * HOUR_MS) // _OF_RETENTION, _LONGEST_SEGMENT_MS), 1)
