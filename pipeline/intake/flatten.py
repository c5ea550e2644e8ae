"""Flattening of nested properties: `{"cart": {"total": 9}}` becomes `cart.total = 9`.

Lists become lists of texts.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec
from msgspec import Struct

from pipeline.intake.refusal import Refusal, refuse
from pipeline.model.interaction import Scalar, text_of
from pipeline.model.lists import ambiguous_name

MAX_PROPERTIES: Final = 256
MAX_TEXT: Final = 16_384
"""Maximum number of characters in one value."""

MAX_NAME: Final = 256
MAX_DEPTH: Final = 16
_INT64: Final = range(-(2**63), 2**63)


class Flat(Struct, frozen=True):
    """Flattened properties by dotted name: single values, and lists."""

    scalars: dict[str, Scalar]
    lists: dict[str, tuple[str, ...]]

    def get(self, name: str) -> tuple[object, ...] | None:
        """Return the scalar of this name, with its type, and the list; None if both are missing."""
        if name not in self.scalars and name not in self.lists:
            return None
        scalar = self.scalars.get(name)
        return (type(scalar), scalar, self.lists.get(name))


def flatten(values: Mapping[str, object], field: str) -> Flat | Refusal:
    """Flatten properties; `field`: their path in the message, for the refusal."""
    flat = Flat({}, {})
    for name, value in _iterate_leaves(values, "", 0):
        former_value = flat.get(name)
        refusal = _check_bounds(flat, name, field) or _put(flat, name, value, field)
        if refusal is not None:
            return refusal
        if former_value is not None and former_value != flat.get(name):
            message = f"{name} is ambiguous: a name with a dot, and a nested one"
            return refuse("ambiguous_name", f"{field}.{name}", message)
    return _refuse_ambiguous(flat, field)


def merge_over(overlay: Flat, base: Flat, field: str) -> Flat | Refusal:
    """Return the union; names in `overlay`, and names nested in them, take precedence."""
    if not base.scalars and not base.lists:
        return overlay
    scalars = {name: value for name, value in base.scalars.items() if not _has_name(overlay, name)}
    lists = {name: values for name, values in base.lists.items() if not _has_name(overlay, name)}
    union = Flat({**scalars, **overlay.scalars}, {**lists, **overlay.lists})
    if len(union.scalars) + len(union.lists) > MAX_PROPERTIES:
        return _too_many(field)
    return _refuse_ambiguous(union, field)


def _has_name(flat: Flat, name: str) -> bool:
    """Return whether `flat` has the name, or the name of an enclosing object."""
    dots = (index for index, letter in enumerate(name) if letter == ".")
    return any(flat.get(name[:end]) is not None for end in (*dots, len(name)))


def _refuse_ambiguous(flat: Flat, field: str) -> Flat | Refusal:
    """Return the properties, or the refusal of a name that is also a part of a list."""
    name = ambiguous_name(flat.scalars, flat.lists)
    if name is None:
        return flat
    return refuse("ambiguous_name", f"{field}.{name}", f"{name} is also a part of a list there")


def _iterate_leaves(
    values: Mapping[str, object], prefix: str, depth: int
) -> Iterator[tuple[str, object]]:
    for key, value in values.items():
        name = prefix + key
        if isinstance(value, dict) and depth < MAX_DEPTH:
            yield from _iterate_leaves(value, name + ".", depth + 1)
        else:
            yield name, value


def _check_bounds(flat: Flat, name: str, field: str) -> Refusal | None:
    if len(name) > MAX_NAME:
        message = f"a name may have {MAX_NAME} characters"
        return refuse("name_too_long", f"{field}.{name[:MAX_NAME]}", message)
    if len(flat.scalars) + len(flat.lists) == MAX_PROPERTIES:
        return _too_many(field)
    return None


def _too_many(field: str) -> Refusal:
    message = f"{field} may have {MAX_PROPERTIES} values, nested ones included"
    return refuse("too_many_properties", field, message)


def _put(flat: Flat, name: str, value: object, field: str) -> Refusal | None:
    if isinstance(value, list):
        elements = _to_elements(value, f"{field}.{name}")
        if isinstance(elements, Refusal):
            return elements
        flat.lists[name] = elements
        return None
    scalar = _to_scalar(value, field, name)
    if isinstance(scalar, Refusal):
        return scalar
    flat.scalars[name] = scalar
    return None


def _to_elements(values: list[object], field: str) -> tuple[str, ...] | Refusal:
    """Return the elements as texts, without the nulls."""
    texts: list[str] = []
    for index, value in enumerate(values):
        scalar = _to_scalar(value, field, str(index))
        if isinstance(scalar, Refusal):
            return scalar
        if scalar is not None:
            texts.append(text_of(scalar))
    return tuple(texts)


def _to_scalar(value: object, field: str, name: str) -> Scalar | Refusal:
    if isinstance(value, dict | list):
        try:
            value = msgspec.json.encode(value).decode()
        except RecursionError:
            return refuse("too_deep", f"{field}.{name}", "the JSON is nested too deeply")
    if isinstance(value, str):
        if len(value) <= MAX_TEXT:
            return value
        message = f"a value may have {MAX_TEXT} characters"
        return refuse("value_too_long", f"{field}.{name}", message)
    if type(value) is int and value not in _INT64:
        message = "whole numbers have 64 bits here; send it as text"
        return refuse("out_of_range", f"{field}.{name}", message)
    assert value is None or isinstance(value, bool | int | float)
    return value
