"""Cells: sums, extremes, and first or latest values, independent of the order of arrival."""

from collections.abc import Callable, Iterable
from sys import float_info
from typing import Any, Final

import msgspec

from pipeline.enrichment.state import BigSum, Cell, Value
from pipeline.model.interaction import Scalar

MILLION: Final = 1_000_000
_INT64_RANGE: Final = range(-(2**63), 2**63)
_FRACTION_LIMIT: Final = 2.0**53
"""Limit from which on floats have no fraction."""

_MAX_FLOAT: Final = float_info.max
_encode: Final = msgspec.json.encode


def millionths(value: Scalar) -> int | BigSum | None:
    """Convert a number to millionths, for exact sums; None for other values."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and abs(value) < _FRACTION_LIMIT:
        return _to_cell(round(value * MILLION))
    return _to_cell(int(value) * MILLION)


def total(cells: Iterable[int | BigSum]) -> int:
    """Return the exact sum."""
    return sum(cell if isinstance(cell, int) else int(cell.digits, 16) for cell in cells)


def number(millionths: int) -> int | float:
    """Convert millionths to a number: an integer if there is no fraction and 64 bits suffice.

    Beyond the range of floats the result is the greatest float.
    """
    quotient, remainder = divmod(millionths, MILLION)
    if remainder == 0 and quotient in _INT64_RANGE:
        return quotient
    try:
        return millionths / MILLION
    except OverflowError:
        return _MAX_FLOAT if millionths > 0 else -_MAX_FLOAT


def _to_cell(millionths: int) -> int | BigSum:
    return millionths if millionths in _INT64_RANGE else BigSum(f"{millionths:x}")


def _add(a: int | BigSum, b: int | BigSum) -> int | BigSum:
    return _to_cell(total((a, b)))


def _later_value(a: Value, b: Value) -> Value:
    return a if _is_later(a, b) else b


def _earlier_value(a: Value, b: Value) -> Value:
    return b if _is_later(a, b) else a


def _is_later(a: Value, b: Value) -> bool:
    """Return whether `a` is later than `b`.

    Two senders may use the same event id at the same time: then the value decides, instead of the
    order of arrival.
    """
    key, other_key = (a.occurred_at, a.event_id), (b.occurred_at, b.event_id)
    return key > other_key or (key == other_key and _encode(a.value) > _encode(b.value))


def _rank(value: Scalar) -> tuple[int, int | float, str]:
    """Return a rank by which any two scalars compare, numbers before text.

    Equal values of different types (1, 1.0 and true) compare by their text, so that the order of
    arrival does not matter.
    """
    if isinstance(value, (bool, int, float)):
        return (0, value, repr(value))
    return (1, -1, "") if value is None else (1, 0, value)


def _min(a: Scalar, b: Scalar) -> Scalar:
    return min(a, b, key=_rank)


def _max(a: Scalar, b: Scalar) -> Scalar:
    return max(a, b, key=_rank)


Combine = Callable[[Any, Any], Cell]

COMBINE: Final[dict[str, Combine]] = {
    "count": _add,
    "sum": _add,
    "min": _min,
    "max": _max,
    "first": _earlier_value,
    "latest": _later_value,
}
"""Combination of two cells by rule; commutative and associative."""
