"""Arbitrary records of every class of the model, and one of each with all fields set."""

from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec
from hypothesis import strategies as st
from msgspec import Struct

Record = TypeVar("Record", bound=Struct)

_TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
_LEAVES: dict[Any, st.SearchStrategy[Any]] = {
    NoneType: st.none(),
    bool: st.booleans(),
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False, allow_infinity=False),
    str: _TEXT,
    bytes: st.binary(max_size=20),
}


def records(record_class: type[Record]) -> st.SearchStrategy[Record]:
    """Return a strategy for all records that the class allows, with 64-bit integers and finite
    floats."""
    return st.builds(
        record_class,
        **{field.name: _values(field.type) for field in msgspec.structs.fields(record_class)},
    )


def example(record_class: type[Record]) -> Record:
    """Return a record with something in every field."""
    return msgspec.convert(_example(record_class), record_class, builtin_types=(bytes,))


def _values(annotation: Any) -> st.SearchStrategy[Any]:
    if annotation in _LEAVES:
        return _LEAVES[annotation]
    match get_origin(annotation), get_args(annotation):
        case None, ():
            return records(annotation)
        case (t, options) if t is Literal:
            return st.sampled_from(options)
        case (t, options) if t in (Union, UnionType):
            return st.one_of(*map(_values, options))
        case (t, (item, *_)) if t is tuple:
            return st.lists(_values(item), max_size=3).map(tuple)
        case (t, (_, value)) if t is dict:
            return st.dictionaries(_TEXT, _values(value), max_size=4)
    raise TypeError(f"no values for {annotation}")


_EXAMPLES: dict[Any, Any] = {
    bool: True,
    int: 1_700_000_000_000,
    float: 1.5,
    str: "né",
    bytes: b"\xff",
}


def _example(annotation: Any) -> Any:
    if annotation in _EXAMPLES:
        return _EXAMPLES[annotation]
    match get_origin(annotation), get_args(annotation):
        case None, ():
            return {
                field.name: _example(field.type) for field in msgspec.structs.fields(annotation)
            }
        case (t, options) if t is Literal:
            return options[0]
        case (t, options) if t in (Union, UnionType):
            return _example(next(option for option in options if option is not NoneType))
        case (t, (item, *_)) if t is tuple:
            return [_example(item), _example(item)]
        case (t, (_, value)) if t is dict:
            return {"a.b": _example(value)}
    raise TypeError(f"no example of {annotation}")
