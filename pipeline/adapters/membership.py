"""What a consumer that is silent has of its session (all in milliseconds)."""

from typing import Final

LEAST_SESSION_MS: Final = 3_000
"""Shorter ones would end with every pause of a busy machine."""

DELIVERY_MS: Final = 120_000
"""How long a worker's records are tried: longer than it lives without a delivery."""

_LONGEST_BEAT_MS: Final = 1_000


def heartbeat_ms(session_ms: int) -> int:
    """How often the group hears of a member.

    Often, so that little of a session is over when a broker dies, and one that is back is found
    before the session ends.
    """
    return min(session_ms // 4, _LONGEST_BEAT_MS)


def lease_ms(session_ms: int) -> int:
    """How long after its last sign of life a member surely has its partitions."""
    return session_ms - heartbeat_ms(session_ms)
