"""Values in foreign JSON by dotted paths of names and indexes: `messages.0.id`."""

from typing import Any


def text_at(document: Any, path: str | None) -> str | None:
    """Return the text or whole number at `path` as a text; None without a path or for other
    values."""
    if not path:
        return None
    value = document
    for name in path.split("."):
        if isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        elif isinstance(value, dict):
            value = value.get(name)
        else:
            return None
    return str(value) if isinstance(value, str | int) else None
