"""Parts of a property that is a list, by name: `NAME.length`, and `NAME.0` for the first
element."""

import re
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from pipeline.model.interaction import Scalar, text_of

Elements: TypeAlias = tuple[str, ...]

_INDEX: Final = re.compile(r"[0-9]{1,6}")


def part_reader(part: str) -> Callable[[Elements], Scalar] | None:
    """Return the reader of `length` or of an index; None: lists have no such part."""
    if part == "length":
        return len
    if not _INDEX.fullmatch(part):
        return None
    index = int(part)
    return lambda values: values[index] if index < len(values) else None


def ambiguous_name(properties: Mapping[str, Scalar], lists: Mapping[str, Elements]) -> str | None:
    """Return a name that has one value as a property and another as a list, or as part of one;
    None without such a name."""
    if not lists:
        return None
    names = (name for name, value in properties.items() if value is not None)
    return next((name for name in names if _differs(name, properties[name], lists)), None)


def _differs(name: str, value: Scalar, lists: Mapping[str, Elements]) -> bool:
    if name in lists:
        return True
    list_name, _, part = name.rpartition(".")
    read = part_reader(part) if list_name in lists else None
    element = None if read is None else read(lists[list_name])
    return element is not None and text_of(element) != text_of(value)
