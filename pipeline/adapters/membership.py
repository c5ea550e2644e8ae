"""Times of a consumer's group membership (all in milliseconds)."""

from typing import Final

MIN_SESSION_MS: Final = 3_000
"""Minimum session timeout; a shorter session would end with each pause of a busy machine."""

DELIVERY_MS: Final = 120_000
"""Time for which unacknowledged records are retried. It exceeds `commit_stall_ms`, after which a
worker without acknowledgements ends."""

_MAX_HEARTBEAT_MS: Final = 1_000


def heartbeat_ms(session_ms: int) -> int:
    """Return the interval of a member's heartbeats.

    It is short, so that when a broker dies most of the session remains, in which the members find
    the restarted broker.
    """
    return min(session_ms // 4, _MAX_HEARTBEAT_MS)


def lease_ms(session_ms: int) -> int:
    """Return the time after its last heartbeat for which a member certainly owns its partitions."""
    return session_ms - heartbeat_ms(session_ms)
