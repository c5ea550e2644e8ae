"""Times of a consumer's group membership (all in milliseconds)."""

from typing import Final

LEAST_SESSION_MS: Final = 3_000
"""Shortest session; shorter ones would end with each pause of a busy machine."""

DELIVERY_MS: Final = 120_000
"""Time for which a worker's records are retried; a worker without deliveries ends earlier."""

_LONGEST_BEAT_MS: Final = 1_000


def heartbeat_ms(session_ms: int) -> int:
    """Return the interval of a member's heartbeats.

    It is short, so that little of a session has passed when a broker dies, and a restarted broker
    is found before the session ends.
    """
    return min(session_ms // 4, _LONGEST_BEAT_MS)


def lease_ms(session_ms: int) -> int:
    """Return the time after its last heartbeat for which a member certainly owns its partitions."""
    return session_ms - heartbeat_ms(session_ms)
