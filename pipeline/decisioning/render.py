"""Content with `{name}` replaced by traits or, where there is no such trait, properties."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Final

from pipeline.conditions import Facts
from pipeline.model.interaction import Scalar

_NAME: Final = re.compile(r"\{([A-Za-z][A-Za-z0-9_.-]*)\}")


@cache
def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_NAME.findall(text)))


def missing_names(content: Mapping[str, str], facts: Facts) -> tuple[str, ...]:
    """Names that the content needs and nobody knows; such a message is not sent half empty."""
    return tuple(
        name for text in content.values() for name in _names(text) if _value(name, facts) is None
    )


def render(content: Mapping[str, str], facts: Facts) -> dict[str, str]:
    """The content for one customer; every name is known (`missing_names` is empty)."""
    return {
        part: _NAME.sub(lambda match: _text(_value(match[1], facts)), text)
        for part, text in content.items()
    }


def _value(name: str, facts: Facts) -> Scalar:
    known = facts.traits.get(name)
    if known is None and facts.interaction is not None:
        return facts.interaction.properties.get(name)
    return known


def _text(value: Scalar) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
