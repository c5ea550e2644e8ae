"""Content with `{trait}` and `{properties.name}` replaced by what is known of the customer."""

from collections.abc import Mapping
from functools import cache

from pipeline.conditions import Facts
from pipeline.config.content import PROPERTY, names_in
from pipeline.model.interaction import Known

_names = cache(names_in)


def missing_names(content: Mapping[str, str], facts: Facts) -> tuple[str, ...]:
    """Names that the content needs and nobody knows; such a message is not sent half empty."""
    return tuple(
        name for text in content.values() for name in _names(text) if _value(name, facts) is None
    )


def render(content: Mapping[str, str], facts: Facts) -> dict[str, str]:
    """The content for one customer; every name is known (`missing_names` is empty)."""
    return {part: _rendered(text, facts) for part, text in content.items()}


def _rendered(text: str, facts: Facts) -> str:
    for name in _names(text):
        text = text.replace(f"{{{name}}}", _text(_value(name, facts)))
    return text


def _value(name: str, facts: Facts) -> Known:
    if not name.startswith(PROPERTY):
        return facts.traits.get(name)
    if facts.interaction is None:
        return None
    return facts.interaction.properties.get(name.removeprefix(PROPERTY))


def _text(value: Known) -> str:
    if isinstance(value, tuple):
        return ", ".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
