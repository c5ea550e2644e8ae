"""Conversion of Arrow values of any type to JSON: exact or refused.

Decimals and floats of any width are numbers (a float of 32 bits that was written as 0.1 is 0.1),
NaN is an empty cell. Times are ISO 8601, with `Z` if the type has a zone and without if it has
none; so are dates and times of day. Durations are milliseconds. Bytes are text in UTF-8. Structs
and maps are objects, lists of any kind are lists. A value is refused if it is infinite, has more
than 64 bits, is outside of the calendar, or is of a type without an equivalent (an interval).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from math import isfinite, isnan
from typing import Any, Final, TypeAlias
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS_PER_SECOND: Final = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_INT64: Final = range(-(2**63), 2**63)

_Converter: TypeAlias = Callable[[Any], object]


@dataclass(frozen=True, slots=True)
class NoValue:
    """Reason why a value cannot be converted."""

    reason: str


def values(array: pa.Array) -> Sequence[object]:
    """Return the array's values in JSON: None for empty ones, NoValue for refused ones."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return _extension_values(array)
    if kinds.is_dictionary(kind):
        dictionary = values(array.dictionary)
        return [None if index is None else dictionary[index] for index in array.indices.to_pylist()]
    if kinds.is_run_end_encoded(kind):
        return values(pc.run_end_decode(array))
    if kinds.is_struct(kind):
        return list(_struct_values(array))
    if kinds.is_map(kind):
        return list(_map_values(array))
    if kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind):
        return list(_list_values(array))
    if kinds.is_list_view(kind) or kinds.is_large_list_view(kind):
        return list(_list_values(array))
    return _plain_values(array)


def _extension_values(array: pa.ExtensionArray) -> Sequence[object]:
    storage = array.storage
    if array.type.extension_name == "arrow.uuid":
        return [_convert(_uuid, value) for value in storage.to_pylist()]
    if array.type.extension_name == "arrow.bool8":
        return [_convert(bool, value) for value in storage.to_pylist()]
    return values(storage)


def _struct_values(array: pa.StructArray) -> Iterator[object]:
    names = [field.name for field in array.type]
    if len(set(names)) < len(names):
        yield from _refuse_each(array, "a struct has two fields of the same name")
        return
    parts = [values(part) for part in array.flatten()]
    for index, is_valid in enumerate(array.is_valid().to_pylist()):
        fields = {name: part[index] for name, part in zip(names, parts, strict=True)}
        yield _object(fields) if is_valid else None


def _list_values(array: Any) -> Iterator[object]:
    elements = iter(values(array.flatten()))
    for length in pc.list_value_length(array).to_pylist():
        if length is None:
            yield None
            continue
        items = [next(elements) for _ in range(length)]
        yield next((item for item in items if isinstance(item, NoValue)), items)


def _map_values(array: pa.MapArray) -> Iterator[object]:
    kind = array.type
    pair = pa.struct([("key", kind.key_type), ("value", kind.item_type)])
    for entries in _list_values(array.cast(pa.list_(pair))):
        yield _map(entries) if isinstance(entries, list) else entries


def _map(entries: list[Any]) -> object:
    keys = [entry.get("key") for entry in entries]
    if not all(isinstance(key, str | int) for key in keys):
        return NoValue("the keys of a map must be texts or whole numbers")
    fields = {str(entry["key"]): entry.get("value") for entry in entries}
    if len(fields) < len(entries):
        return NoValue("a map has the same key twice")
    return _object(fields)


def _object(fields: dict[str, object]) -> object:
    """Return an object without its empty fields."""
    no_value = next((field for field in fields.values() if isinstance(field, NoValue)), None)
    return no_value or {name: value for name, value in fields.items() if value is not None}


def _plain_values(array: pa.Array) -> Sequence[object]:
    kind = array.type
    if kinds.is_boolean(kind) or kinds.is_signed_integer(kind):
        return array.to_pylist()  # type: ignore[no-any-return]
    if kinds.is_floating(kind):
        return [_convert(_finite_or_none, value) for value in _doubles(array)]
    if kinds.is_timestamp(kind) or kinds.is_time(kind) or kinds.is_duration(kind):
        return [_convert(_clock(kind), value) for value in _counts(array)]
    for is_kind, convert in _CONVERT:
        if is_kind(kind):
            return [_convert(convert, value) for value in _python_values(array)]
    if kinds.is_null(kind):
        return [None] * len(array)
    return list(_refuse_each(array, f"the type {kind} is not supported"))


def _python_values(array: pa.Array) -> Sequence[Any]:
    """Return Python values; texts as bytes, because not every writer ensures that they are
    UTF-8."""
    if kinds.is_string(array.type) or kinds.is_large_string(array.type):
        array = array.cast(pa.large_binary())
    elif kinds.is_string_view(array.type):
        array = array.cast(pa.binary_view())
    return array.to_pylist()  # type: ignore[no-any-return]


def _doubles(array: pa.Array) -> Sequence[float | None]:
    """Return doubles; a narrower float becomes the shortest decimal that represents it."""
    if array.type != pa.float64():
        array = array.cast(pa.float32()).cast(pa.string()).cast(pa.float64())
    return array.to_pylist()  # type: ignore[no-any-return]


def _counts(array: pa.Array) -> Sequence[int | None]:
    is_narrow = array.type in (pa.time32("s"), pa.time32("ms"))
    counts = array.cast(pa.int32()).cast(pa.int64()) if is_narrow else array.cast(pa.int64())
    return counts.to_pylist()  # type: ignore[no-any-return]


def _clock(kind: Any) -> _Converter:
    per_second = _UNITS_PER_SECOND[kind.unit]
    if kinds.is_duration(kind):
        return lambda count: _number(Decimal(count) * 1_000 / per_second)
    if kinds.is_time(kind):
        return lambda count: _moment(count, per_second).partition("T")[2]
    suffix = "Z" if kind.tz else ""
    return lambda count: _moment(count, per_second) + suffix


def _moment(count: int, per_second: int) -> str:
    seconds, remainder = divmod(count, per_second)
    text = (_EPOCH + timedelta(seconds=seconds)).replace(tzinfo=None).isoformat()
    digits = len(str(per_second)) - 1
    fraction = f"{remainder:0{digits}}".rstrip("0") if remainder else ""
    return f"{text}.{fraction}" if fraction else text


def _convert(convert: _Converter, value: Any) -> object:
    if value is None:
        return None
    try:
        return convert(value)
    except (OverflowError, ValueError) as error:
        return NoValue(str(error))


def _finite_or_none(value: float) -> float | None:
    if isnan(value):
        return None
    if not isfinite(value):
        raise ValueError("it is not a finite number")
    return value


def _number(value: Decimal | int) -> int | float:
    if value != int(value):
        return float(value)
    if int(value) not in _INT64:
        raise ValueError("whole numbers may have 64 bits")
    return int(value)


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise ValueError("it is not text in UTF-8") from None


def _date(value: date) -> str:
    return value.isoformat()


def _uuid(value: bytes) -> str:
    return str(UUID(bytes=value))


def _refuse_each(array: pa.Array, reason: str) -> Iterator[object]:
    for is_valid in array.is_valid().to_pylist():
        yield NoValue(reason) if is_valid else None


def _is_bytes(kind: Any) -> bool:
    return any(is_kind(kind) for is_kind in _BYTES)


_BYTES: Final[tuple[Callable[[Any], bool], ...]] = (
    kinds.is_binary,
    kinds.is_large_binary,
    kinds.is_fixed_size_binary,
    kinds.is_binary_view,
    kinds.is_string,
    kinds.is_large_string,
    kinds.is_string_view,
)
_CONVERT: Final[tuple[tuple[Callable[[Any], bool], _Converter], ...]] = (
    (kinds.is_decimal, _number),
    (_is_bytes, _text),
    (kinds.is_unsigned_integer, _number),
    (kinds.is_date, _date),
)
