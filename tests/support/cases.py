"""Number of cases on which a law is tried."""

from hypothesis import settings

THOROUGH = 2_000
"""Cases of a law without a number of its own under the profile `thorough`."""

_LEAST = 10


def cases(most: int) -> int:
    """Return `most` under the profile `thorough`; else a quarter of it, but not less than ten."""
    if settings.default is not None and settings.default.max_examples >= THOROUGH:
        return most
    return max(min(most, _LEAST), most // 4)
