"""Nested properties as dotted scalars: `{"cart": {"total": 9}}` is `cart.total = 9`."""

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from pipeline.gateway.refusal import Refusal, bad
from pipeline.model.interaction import Scalar

MAX_PROPERTIES: Final = 256
MAX_TEXT: Final = 16_384
"""Characters of one value."""

MAX_NAME: Final = 256
MAX_DEPTH: Final = 16
MAX_ELEMENTS: Final = 16
"""So many scalars of a list become properties; longer lists, and lists of more, JSON text."""

_LONG: Final = range(-(2**63), 2**63)


def flatten(values: Mapping[str, object], field: str) -> dict[str, Scalar] | Refusal:
    """`field` is where the values stand in the message, for the refusal."""
    flat: dict[str, Scalar] = {}
    for name, value in _leaves(values, "", 0):
        scalar = _scalar(value, f"{field}.{name}")
        if isinstance(scalar, Refusal):
            return scalar
        if len(name) > MAX_NAME:
            message = f"a name may have {MAX_NAME} characters"
            return bad("name_too_long", f"{field}.{name[:MAX_NAME]}", message)
        if len(flat) == MAX_PROPERTIES:
            message = f"{field} may have {MAX_PROPERTIES} values, nested ones included"
            return bad("too_many_properties", field, message)
        flat[name] = scalar
    return flat


def _leaves(values: Mapping[str, object], prefix: str, depth: int) -> Iterator[tuple[str, object]]:
    for key, value in values.items():
        name = prefix + key
        if isinstance(value, dict) and depth < MAX_DEPTH:
            yield from _leaves(value, name + ".", depth + 1)
        elif isinstance(value, list) and _spreads(value):
            yield from ((f"{name}.{index}", one) for index, one in enumerate(value))
        else:
            yield name, value


def _spreads(values: list[object]) -> bool:
    return 0 < len(values) <= MAX_ELEMENTS and not any(
        isinstance(one, dict | list) for one in values
    )


def _scalar(value: object, field: str) -> Scalar | Refusal:
    if isinstance(value, dict | list):
        try:
            value = msgspec.json.encode(value).decode()
        except RecursionError:
            return bad("too_deep", field, "the JSON is nested too deeply")
    if isinstance(value, str) and len(value) > MAX_TEXT:
        return bad("value_too_long", field, f"a value may have {MAX_TEXT} characters")
    if type(value) is int and value not in _LONG:
        return bad("out_of_range", field, "whole numbers have 64 bits here; send it as text")
    assert value is None or isinstance(value, bool | int | float | str)
    return value
