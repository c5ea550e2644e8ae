"""Readers of an interaction, for the paths that a trait's `of` may name."""

import operator
from typing import Final, TypeGuard

from pipeline.conditions import Facts
from pipeline.conditions.compile import Read, interaction_reader
from pipeline.conditions.compile import reader as reader_of
from pipeline.conditions.parse import is_context_field
from pipeline.conditions.tree import ContextField, Derived, Property
from pipeline.model.interaction import FactValue

FIELDS: Final = ("name", "kind", "channel", "source", "event_id", "occurred_at", "received_at")
PATH_FORMS: Final = "properties.NAME, context.NAME, derived.NAME, " + ", ".join(FIELDS)

read_occurred_at: Final = interaction_reader(operator.attrgetter("occurred_at"))
"""Reader of the interaction's time, for `recency` and for conditions."""


def reader(path: str) -> Read | None:
    """Return the reader of a path; None for an unknown path."""
    section, _, name = path.partition(".")
    if path in FIELDS:
        return interaction_reader(operator.attrgetter(path))
    if section == "properties" and name:
        return reader_of(Property(name))
    if section == "context" and is_context_field(name):
        return reader_of(ContextField(name))
    if section == "derived" and name:
        return reader_of(Derived(name))
    return None


def count_one(_: Facts) -> FactValue:
    """Return 1, which `count` adds for each interaction."""
    return 1


def count_numbers(read: Read) -> Read:
    """Return a reader that gives 1 for each number, for the count of an average."""
    return lambda facts: 1 if is_number(read(facts)) else None


def is_number(value: FactValue) -> TypeGuard[int | float]:
    """Return whether a value is a number; true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)
