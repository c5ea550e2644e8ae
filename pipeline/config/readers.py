"""What a trait reads of an interaction: the paths that `of` may name."""

import operator
from collections.abc import Callable
from typing import Final, TypeAlias, TypeGuard, cast

from pipeline.conditions.compile import context_reader
from pipeline.conditions.parse import is_context_field
from pipeline.model.interaction import Interaction, Scalar

Reader: TypeAlias = Callable[[Interaction], Scalar]

FIELDS: Final = ("name", "kind", "channel", "source", "event_id", "occurred_at", "received_at")
PATHS: Final = "properties.NAME, context.NAME, " + ", ".join(FIELDS)


def reader(of: str) -> Reader | None:
    """A function from an interaction to the value at `of`; None when there is no such path."""
    if of in FIELDS:
        return cast(Reader, operator.attrgetter(of))
    section, _, name = of.partition(".")
    if section == "properties" and name:
        return lambda interaction: interaction.properties.get(name)
    if section == "context" and is_context_field(name):
        read = context_reader(name)
        return lambda interaction: read(interaction.context)
    return None


def one(_: Interaction) -> Scalar:
    """What `count` adds for each interaction."""
    return 1


def one_per_number(read: Reader) -> Reader:
    """What an average counts."""
    return lambda interaction: 1 if is_number(read(interaction)) else None


def occurred_at(interaction: Interaction) -> Scalar:
    """What `recency` reads."""
    return interaction.occurred_at


def is_number(value: Scalar) -> TypeGuard[int | float]:
    """True and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)
