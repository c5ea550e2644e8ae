"""What a trait reads of an interaction: the paths that `of` may name."""

import operator
from typing import Final, TypeGuard

from pipeline.conditions import Facts
from pipeline.conditions.compile import Read, of_interaction
from pipeline.conditions.compile import reader as reader_of
from pipeline.conditions.parse import is_context_field
from pipeline.conditions.tree import ContextField, Derived, Property
from pipeline.model.interaction import Known

FIELDS: Final = ("name", "kind", "channel", "source", "event_id", "occurred_at", "received_at")
PATHS: Final = "properties.NAME, context.NAME, derived.NAME, " + ", ".join(FIELDS)

occurred_at: Final = of_interaction(operator.attrgetter("occurred_at"))
"""What `recency` reads."""


def reader(of: str) -> Read | None:
    """A function from an interaction to the value at `of`; None when there is no such path."""
    section, _, name = of.partition(".")
    if of in FIELDS:
        return of_interaction(operator.attrgetter(of))
    if section == "properties" and name:
        return reader_of(Property(name))
    if section == "context" and is_context_field(name):
        return reader_of(ContextField(name))
    if section == "derived" and name:
        return reader_of(Derived(name))
    return None


def one(_: Facts) -> Known:
    """What `count` adds for each interaction."""
    return 1


def one_per_number(read: Read) -> Read:
    """What an average counts."""
    return lambda facts: 1 if is_number(read(facts)) else None


def is_number(value: Known) -> TypeGuard[int | float]:
    """True and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)
