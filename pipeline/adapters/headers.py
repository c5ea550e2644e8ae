"""Headers of Kafka's records."""

from collections.abc import Iterable


def first_header(headers: Iterable[tuple[str, object]] | None, name: str) -> bytes | None:
    """The first one of this name, where it has a value."""
    for key, value in headers or ():
        if key == name:
            return value if isinstance(value, bytes) else None
    return None
