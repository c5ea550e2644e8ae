"""Names in a treatment's content: `{trait}` and `{properties.name}`."""

import re
from collections.abc import Mapping
from typing import Final

PROPERTY: Final = "properties."
_NAME: Final = re.compile(r"\{([A-Za-z][A-Za-z0-9_.-]*)\}")


def names_in(text: str) -> tuple[str, ...]:
    """Every name once, in order."""
    return tuple(dict.fromkeys(_NAME.findall(text)))


def filled(text: str, values: Mapping[str, str]) -> str:
    """The text with each name's value; what a value itself looks like does not matter."""
    return _NAME.sub(lambda found: values[found[1]], text)


def traits_in(text: str) -> tuple[str, ...]:
    """Those that are traits."""
    return tuple(name for name in names_in(text) if not name.startswith(PROPERTY))
