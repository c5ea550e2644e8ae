"""Names in a treatment's content: `{trait}` and `{properties.name}`."""

import re
from typing import Final

PROPERTY: Final = "properties."
_NAME: Final = re.compile(r"\{([A-Za-z][A-Za-z0-9_.-]*)\}")


def names_in(text: str) -> tuple[str, ...]:
    """Every name once, in order."""
    return tuple(dict.fromkeys(_NAME.findall(text)))


def traits_in(text: str) -> tuple[str, ...]:
    """Those that are traits."""
    return tuple(name for name in names_in(text) if not name.startswith(PROPERTY))
