"""Content of treatments: their templates, and the names that these read."""

from collections.abc import Iterator, Mapping
from typing import Final

from pipeline.conditions import Facts
from pipeline.conditions.compile import Read, reader
from pipeline.conditions.parse import is_context_field
from pipeline.conditions.tree import ContextField, Property, Trait
from pipeline.config import model
from pipeline.config.compiled import Content
from pipeline.config.templates import CONTEXT, ITEM, PROPERTY, Template, TemplateProblem, template
from pipeline.model.interaction import FactValue

_PAGE_CHANNEL: Final = "web"
_HTML_PART: Final = "html"


def escapes_html(part: str, channel: model.Channel | None) -> bool:
    """Return whether customers' values in a part are escaped as HTML."""
    if part == _HTML_PART or channel is None:
        return True
    return channel.escape == "html" or (channel.escape is None and channel.name == _PAGE_CHANNEL)


def templates(
    treatment: model.Treatment, channel: model.Channel | None
) -> Iterator[tuple[str, Template | TemplateProblem]]:
    """Compile every part of a treatment's content."""
    for part, text in treatment.content.items():
        yield part, template(text, escapes_html(part, channel))


def content(treatment: model.Treatment, channel: model.Channel) -> Content:
    """Compile a content whose templates were checked."""
    parts: dict[str, Template] = {}
    needs: dict[str, Read] = {}
    reads: dict[str, Read] = {}
    for part, part_template in templates(treatment, channel):
        assert not isinstance(part_template, TemplateProblem)
        parts[part] = part_template
        reads.update((name, reader_of(name)) for name in part_template.names)
        needs.update(
            (name, reads[name]) for name in part_template.needs if name not in treatment.defaults
        )
    return Content(parts, tuple(reads.items()), tuple(needs.items()), treatment.defaults)


def reader_of(name: str) -> Read:
    """Return the reader of a name in a template."""
    if name.startswith(PROPERTY):
        return reader(Property(name.removeprefix(PROPERTY)))
    if name.startswith(CONTEXT):
        return reader(ContextField(name.removeprefix(CONTEXT)))
    if name.startswith(ITEM):
        return _no_value  # the item's content has its value as a default
    return reader(Trait(name))


def _no_value(_: Facts) -> FactValue:
    return None


def item_content(template: Content, attributes: Mapping[str, FactValue]) -> Content | None:
    """Return the content of one item of a catalogue; None where a needed attribute is
    missing."""
    item_values = {f"{ITEM}{name}": value for name, value in attributes.items()}
    if any(name.startswith(ITEM) and item_values.get(name) is None for name, _ in template.needs):
        return None
    present_values = {
        name: value for name, _ in template.reads if (value := item_values.get(name)) is not None
    }
    content_without_item = drop_item_names(template)
    return Content(
        content_without_item.parts,
        content_without_item.reads,
        content_without_item.needs,
        {**content_without_item.defaults, **present_values},
    )


def drop_item_names(template: Content) -> Content:
    """Return a content without the names of a catalogue's item."""
    reads = tuple(read for read in template.reads if not read[0].startswith(ITEM))
    needs = tuple(need for need in template.needs if not need[0].startswith(ITEM))
    return Content(template.parts, reads, needs, template.defaults)


def is_trait(name: str) -> bool:
    """Return whether a name in a template is a trait's."""
    return not name.startswith((PROPERTY, CONTEXT, ITEM))


def is_unknown_context(name: str) -> bool:
    """Return whether a name is a field of the context that does not exist."""
    return name.startswith(CONTEXT) and not is_context_field(name.removeprefix(CONTEXT))
