"""Spans of time that several stages agree on, in milliseconds."""

from typing import Final

SECOND_MS: Final = 1_000
MINUTE_MS: Final = 60 * SECOND_MS
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS

GRACE_MS: Final = 7 * DAY_MS
"""So long after it happened an interaction still counts, and its id is remembered."""

MAX_AHEAD_MS: Final = HOUR_MS
"""A time further in the future than this is refused; one that is less ahead of its receipt counts
as happened at receipt."""

EARLIEST: Final = "2000-01-01"
"""The usual earliest day on which something can have happened: what claims to be older was most
likely not written in milliseconds."""
