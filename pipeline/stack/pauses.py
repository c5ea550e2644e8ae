"""Pauses before the restart of a process that keeps ending."""

from typing import Final

_STEADY_LIFE_S: Final = 10.0
_FIRST_PAUSE_S: Final = 0.1
_MAX_PAUSE_S: Final = 10.0


def pause_s(failures: int, jitter: float) -> float:
    """Return the pause after a number of short lives in a row; `jitter` is in [0, 1)."""
    longest_pause_s = min(_MAX_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(failures, 30))
    return longest_pause_s * (0.5 + jitter / 2)


def count_failures(failures: int, life_s: float) -> int:
    """Return the number of short lives in a row after a life of `life_s`; a long one resets it."""
    return 0 if life_s > _STEADY_LIFE_S else failures + 1
