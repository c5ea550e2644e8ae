"""Number of cases on which a law is tried."""

from hypothesis import settings

THOROUGH_CASES = 2_000
"""Cases of a law without a number of its own under the profile `thorough`."""

_MINIMUM = 10


def cases(maximum: int) -> int:
    """Return `maximum` under the profile `thorough`; else a quarter of it, at least ten."""
    if settings.default is not None and settings.default.max_examples >= THOROUGH_CASES:
        return maximum
    return max(min(maximum, _MINIMUM), maximum // 4)
