"""The content of treatments: their templates, and the names that these read."""

from collections.abc import Iterator
from typing import Final

from pipeline.conditions.compile import Read, reader
from pipeline.conditions.parse import is_context_field
from pipeline.conditions.tree import ContextField, Property, Trait
from pipeline.config import model
from pipeline.config.compiled import Content
from pipeline.config.templates import CONTEXT, PROPERTY, BadTemplate, Template, template

_IN_A_PAGE: Final = "web"
_OF_A_PAGE: Final = "html"


def is_html(part: str, channel: model.Channel | None) -> bool:
    """Whether what a part says of a customer is escaped for a page."""
    if part == _OF_A_PAGE or channel is None:
        return True
    return channel.escape == "html" or (channel.escape is None and channel.name == _IN_A_PAGE)


def templates(
    treatment: model.Treatment, channel: model.Channel | None
) -> Iterator[tuple[str, Template | BadTemplate]]:
    """Every part of its content."""
    for part, text in treatment.content.items():
        yield part, template(text, is_html(part, channel))


def content(treatment: model.Treatment, channel: model.Channel) -> Content:
    """Compiled; its templates were found right."""
    parts: dict[str, Template] = {}
    needs: dict[str, Read] = {}
    reads: dict[str, Read] = {}
    for part, made in templates(treatment, channel):
        assert not isinstance(made, BadTemplate)
        parts[part] = made
        reads.update((name, read_of(name)) for name in made.names)
        needs.update((name, reads[name]) for name in made.needs if name not in treatment.defaults)
    return Content(parts, tuple(reads.items()), tuple(needs.items()), treatment.defaults)


def read_of(name: str) -> Read:
    """How a name in a template is read."""
    if name.startswith(PROPERTY):
        return reader(Property(name.removeprefix(PROPERTY)))
    if name.startswith(CONTEXT):
        return reader(ContextField(name.removeprefix(CONTEXT)))
    return reader(Trait(name))


def is_trait(name: str) -> bool:
    """Whether a name in a template is a trait's."""
    return not name.startswith((PROPERTY, CONTEXT))


def is_unknown_context(name: str) -> bool:
    """Whether it names a circumstance that there is not."""
    return name.startswith(CONTEXT) and not is_context_field(name.removeprefix(CONTEXT))
