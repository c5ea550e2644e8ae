"""Content for one customer, made for the winner only."""

from typing import Final

from msgspec import Struct

from pipeline.conditions import Facts
from pipeline.config.compiled import Content
from pipeline.config.templates import RenderError

_ONE_LINE: Final = frozenset(("subject",))
"""Parts that become a header, whose end a line break would be."""


class Unsayable(Struct, frozen=True):
    """Reason why content cannot be made."""

    reason: str


def missing_name(content: Content, facts: Facts) -> str | None:
    """Return a name that the content needs and that has no value; the message is not sent then."""
    for name, read in content.needs:
        if read(facts) is None:
            return name
    return None


def render(content: Content, facts: Facts) -> dict[str, str] | Unsayable:
    """Render every part; a name without a value has its default."""
    values = dict(content.defaults)
    values.update(
        (name, value) for name, read in content.reads if (value := read(facts)) is not None
    )
    said: dict[str, str] = {}
    for part, template in content.parts.items():
        try:
            text = template.render(values)
        except RenderError as error:
            return Unsayable(f"{part}: {error}")
        said[part] = " ".join(text.split()) if part in _ONE_LINE else text
    return said
