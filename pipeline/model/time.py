"""Durations shared by several stages, in milliseconds."""

from typing import Final

SECOND_MS: Final = 1_000
MINUTE_MS: Final = 60 * SECOND_MS
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS

GRACE_MS: Final = 7 * DAY_MS
"""Time after its occurrence within which an interaction counts exactly, and a copy is
recognised."""

MAX_AHEAD_MS: Final = HOUR_MS
"""Limit of times in the future: later ones are refused, others are set back to the receipt."""

EARLIEST: Final = "2000-01-01"
"""Default earliest day of an occurrence: an older time was probably not in milliseconds."""
