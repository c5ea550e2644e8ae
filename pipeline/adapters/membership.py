"""Times of a consumer's group membership (all in milliseconds)."""

from typing import Final

LEAST_SESSION_MS: Final = 3_000
"""Shortest session; a shorter one would end with every pause of a busy machine."""

DELIVERY_MS: Final = 120_000
"""Time for which a worker's records are retried; it lives shorter without a delivery."""

_LONGEST_BEAT_MS: Final = 1_000


def heartbeat_ms(session_ms: int) -> int:
    """Return the interval of a member's heartbeats.

    It is short, so that little of a session has passed when a broker dies, and one that is back is
    found before the session ends.
    """
    return min(session_ms // 4, _LONGEST_BEAT_MS)


def lease_ms(session_ms: int) -> int:
    """Return how long after its last heartbeat a member is certain to own its partitions."""
    return session_ms - heartbeat_ms(session_ms)
