"""Times as people read them."""

from datetime import UTC, datetime


def iso(at_ms: int) -> str:
    """Epoch ms as ISO 8601 in UTC, to the millisecond."""
    moment = datetime.fromtimestamp(at_ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
