"""Content of treatments: their templates, and the names that these read."""

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
    """Return whether a part escapes customers' values for a page."""
    if part == _OF_A_PAGE or channel is None:
        return True
    return channel.escape == "html" or (channel.escape is None and channel.name == _IN_A_PAGE)


def templates(
    treatment: model.Treatment, channel: model.Channel | None
) -> Iterator[tuple[str, Template | BadTemplate]]:
    """Compile every part of a treatment's content."""
    for part, text in treatment.content.items():
        yield part, template(text, is_html(part, channel))


def content(treatment: model.Treatment, channel: model.Channel) -> Content:
    """Compile a content whose templates were checked."""
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
    """Return the reader of a name in a template."""
    if name.startswith(PROPERTY):
        return reader(Property(name.removeprefix(PROPERTY)))
    if name.startswith(CONTEXT):
        return reader(ContextField(name.removeprefix(CONTEXT)))
    return reader(Trait(name))


def is_trait(name: str) -> bool:
    """Return whether a name in a template is a trait's."""
    return not name.startswith((PROPERTY, CONTEXT))


def is_unknown_context(name: str) -> bool:
    """Return whether a name is a field of the context that does not exist."""
    return name.startswith(CONTEXT) and not is_context_field(name.removeprefix(CONTEXT))
