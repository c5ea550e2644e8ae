"""Headers of Kafka's records."""

from collections.abc import Iterable


def first_header(headers: Iterable[tuple[str, object]] | None, name: str) -> bytes | None:
    """Return the value of the first header of this name, if any."""
    for key, value in headers or ():
        if key == name:
            return value if isinstance(value, bytes) else None
    return None
