"""Writers of Avro, compiled once per schema, directly from records to bytes.

fastavro would take a record as a dict, and find the branch of each union by validating the value
against one after the other, which takes two to three times as long.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from operator import attrgetter
from struct import Struct as Layout
from typing import Any, Final, TypeAlias

Appender: TypeAlias = Callable[[bytes], None]
"""Function that appends bytes."""
Writer: TypeAlias = Callable[[Appender, Any], None]
"""Function that appends the bytes of a value."""

_MIN_LONG: Final = -(2**63)
_MAX_LONG: Final = 2**63 - 1
_LENGTH_COUNT: Final = 1_024
"""Number of lengths whose encoding is in a table."""


def compile_writer(schema: Any) -> Writer:
    """Return the writer of a record, from its schema as parsed by fastavro."""
    return _record_writer(schema, {})


@lru_cache(4_096, typed=True)
def _varint(number: int) -> bytes:
    """Encode a long; cached, since many records share the same times and counts."""
    if not _MIN_LONG <= number <= _MAX_LONG:
        raise OverflowError(f"{number} has more than 64 bits")
    bits = (number << 1) ^ (number >> 63)
    data = bytearray()
    while bits > 0x7F:
        data.append(bits & 0x7F | 0x80)
        bits >>= 7
    data.append(bits)
    return bytes(data)


_ENCODED_LENGTHS: Final = tuple(map(_varint, range(_LENGTH_COUNT)))
_END: Final = _varint(0)
_TRUE, _FALSE = b"\1", b"\0"
_NULL, _NOT_NULL = _varint(0), _varint(1)
"""Branches of a union of null and another type."""
_pack_double = Layout("<d").pack


def _put_long(add: Appender, value: int) -> None:
    add(_varint(value))


def _put_double(add: Appender, value: float) -> None:
    add(_pack_double(value))


def _put_boolean(add: Appender, value: bool) -> None:
    add(_TRUE if value else _FALSE)


def _put_bytes(add: Appender, value: bytes) -> None:
    add(_varint(len(value)))
    add(value)


def _put_text(add: Appender, value: str) -> None:
    data = value.encode()
    length = len(data)
    add(_ENCODED_LENGTHS[length] if length < _LENGTH_COUNT else _varint(length))
    add(data)


def _put_texts(add: Appender, values: Sequence[str]) -> None:
    """Add several texts in one call, since calls take most of the time of a short text."""
    for value in values:
        data = value.encode()
        length = len(data)
        add(_ENCODED_LENGTHS[length] if length < _LENGTH_COUNT else _varint(length))
        add(data)


def _put_nothing(add: Appender, value: None) -> None:
    """Add null, which has no bytes."""


_PRIMITIVES: Final[Mapping[str, Writer]] = {
    "null": _put_nothing,
    "boolean": _put_boolean,
    "long": _put_long,
    "double": _put_double,
    "bytes": _put_bytes,
    "string": _put_text,
}
_CLASSES: Final[Mapping[str, tuple[type, ...]]] = {
    "null": (type(None),),
    "boolean": (bool,),
    "long": (int,),
    "double": (float,),
    "bytes": (bytes,),
    "string": (str,),
    "array": (tuple, list),
}
"""Classes of the values of a union's branches."""


def _writer(schema: Any, writers: dict[str, Writer]) -> Writer:
    """Return the writer of any schema; `writers`: those of the records defined so far."""
    if isinstance(schema, str):
        return _PRIMITIVES.get(schema) or writers[schema]
    if isinstance(schema, list):
        return _union_writer(schema, writers)
    match schema["type"]:
        case "record":
            return _record_writer(schema, writers)
        case "array":
            return _array_writer(schema["items"], writers)
        case "map":
            return _map_writer(_writer(schema["values"], writers))
    return _writer(schema["type"], writers)


def _record_writer(schema: Any, writers: dict[str, Writer]) -> Writer:
    field_writers = tuple(_field_writers(schema["fields"], writers))

    def put_record(add: Appender, record: Any) -> None:
        for get, put in field_writers:
            put(add, get(record))

    writers[schema["name"]] = put_record
    return put_record


def _field_writers(
    fields: Sequence[Any], writers: dict[str, Writer]
) -> Iterator[tuple[Callable[[Any], Any], Writer]]:
    """Yield a getter and a writer for each run of string or double fields, and for each other
    field."""
    for kind, run in groupby(fields, lambda field: field["type"]):
        names = [field["name"] for field in run]
        if len(names) > 1 and kind == "string":
            yield attrgetter(*names), _put_texts
        elif len(names) > 1 and kind == "double":
            yield attrgetter(*names), _doubles_writer(len(names))
        else:
            put = _writer(kind, writers)
            yield from ((attrgetter(name), put) for name in names)


def _doubles_writer(count: int) -> Writer:
    pack = Layout(f"<{count}d").pack

    def put_doubles(add: Appender, values: Sequence[float]) -> None:
        add(pack(*values))

    return put_doubles


def _array_writer(items: Any, writers: dict[str, Writer]) -> Writer:
    put = _writer(items, writers)

    def put_array(add: Appender, values: Sequence[Any]) -> None:
        if values:
            add(_varint(len(values)))
            for value in values:
                put(add, value)
        add(_END)

    def put_text_array(add: Appender, values: Sequence[str]) -> None:
        if values:
            add(_varint(len(values)))
            _put_texts(add, values)
        add(_END)

    return put_text_array if items == "string" else put_array


def _map_writer(put: Writer) -> Writer:
    def put_map(add: Appender, values: Mapping[str, Any]) -> None:
        if values:
            add(_varint(len(values)))
            for name, value in values.items():
                _put_text(add, name)
                put(add, value)
        add(_END)

    return put_map


def _union_writer(branches: Sequence[Any], writers: dict[str, Writer]) -> Writer:
    """Return the writer of null or another type, or of several primitives and an array."""
    if len(branches) == 2 and branches[0] == "null":
        return _optional_writer(_writer(branches[1], writers))
    branches_by_class: dict[type, tuple[bytes, Writer]] = {}
    for index, branch in enumerate(branches):
        kind = branch if isinstance(branch, str) else branch["type"]
        entry = (_varint(index), _writer(branch, writers))
        branches_by_class |= dict.fromkeys(_CLASSES[kind], entry)
    double_branch = branches_by_class.get(float)

    def put_union(add: Appender, value: Any) -> None:
        index, put = branches_by_class[value.__class__]
        if value.__class__ is int and double_branch and not _MIN_LONG <= value <= _MAX_LONG:
            index, put = double_branch
        add(index)
        put(add, value)

    return put_union


def _optional_writer(put: Writer) -> Writer:
    def put_optional(add: Appender, value: Any) -> None:
        if value is None:
            add(_NULL)
        else:
            add(_NOT_NULL)
            put(add, value)

    return put_optional
