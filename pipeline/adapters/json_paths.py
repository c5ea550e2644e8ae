"""Values in foreign JSON by dotted paths of names and indexes: `messages.0.id`."""

from typing import Any


def text_at(document: Any, path: str | None) -> str | None:
    """Return the text or whole number at `path` as a text; None without a path or for other
    values."""
    if not path:
        return None
    found = document
    for name in path.split("."):
        if isinstance(found, list) and name.isdecimal() and int(name) < len(found):
            found = found[int(name)]
        elif isinstance(found, dict):
            found = found.get(name)
        else:
            return None
    return str(found) if isinstance(found, str | int) else None
