"""Content for one customer, rendered for winners, and before a draw for its few candidates."""

from typing import Final

from msgspec import Struct

from pipeline.conditions import Facts
from pipeline.config.compiled import Content
from pipeline.config.templates import RenderError

_ONE_LINE_PARTS: Final = frozenset(("subject",))
"""Parts that become a header, which a line break would end."""


class RenderFailure(Struct, frozen=True):
    """Failure to render a content, with its reason."""

    reason: str


def missing_name(content: Content, facts: Facts) -> str | None:
    """Return the first needed name without a value; the message is not sent then."""
    for name, read in content.needs:
        if read(facts) is None:
            return name
    return None


def render(content: Content, facts: Facts) -> dict[str, str] | RenderFailure:
    """Render every part; a name without a value takes its default."""
    values = dict(content.defaults)
    values.update(
        (name, value) for name, read in content.reads if (value := read(facts)) is not None
    )
    texts: dict[str, str] = {}
    for part, template in content.parts.items():
        try:
            text = template.render(values)
        except RenderError as error:
            return RenderFailure(f"{part}: {error}")
        texts[part] = " ".join(text.split()) if part in _ONE_LINE_PARTS else text
    return texts
