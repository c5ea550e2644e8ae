"""Cells: sums of interactions, the same in any order of arrival."""

from collections.abc import Callable, Iterable
from sys import float_info
from typing import Any, Final

import msgspec

from pipeline.enrichment.state import Big, Cell, Value
from pipeline.model.interaction import Scalar

MILLION: Final = 1_000_000
_LONG: Final = range(-(2**63), 2**63)
_WHOLE: Final = 2.0**53
"""Bound from which on every float is a whole number."""

_GREATEST: Final = float_info.max
_encode: Final = msgspec.json.encode


def millionths(value: Scalar) -> int | Big | None:
    """Return a number to add up, exactly; None for what is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and abs(value) < _WHOLE:
        return _to_cell(round(value * MILLION))
    return _to_cell(int(value) * MILLION)


def total(cells: Iterable[int | Big]) -> int:
    """Return the exact sum."""
    return sum(one if isinstance(one, int) else int(one.digits, 16) for one in cells)


def number(millionths: int) -> int | float:
    """Return the reverse of `millionths`; whole where it is whole and has at most 64 bits.

    Beyond the range of floats, the greatest one.
    """
    whole, rest = divmod(millionths, MILLION)
    if rest == 0 and whole in _LONG:
        return whole
    try:
        return millionths / MILLION
    except OverflowError:
        return _GREATEST if millionths > 0 else -_GREATEST


def _to_cell(millionths: int) -> int | Big:
    return millionths if millionths in _LONG else Big(f"{millionths:x}")


def _add(a: int | Big, b: int | Big) -> int | Big:
    return _to_cell(total((a, b)))


def _latest(a: Value, b: Value) -> Value:
    return a if _is_later(a, b) else b


def _first(a: Value, b: Value) -> Value:
    return b if _is_later(a, b) else a


def _is_later(a: Value, b: Value) -> bool:
    """Return whether `a` came after `b`.

    Two senders may use one event id at the same time: then the value decides, so that the order of
    arrival does not.
    """
    one, other = (a.occurred_at, a.event_id), (b.occurred_at, b.event_id)
    return one > other or (one == other and _encode(a.value) > _encode(b.value))


def _rank(value: Scalar) -> tuple[int, int | float, str]:
    """Return a rank by which any two scalars compare: numbers before text, so that min and max
    never fail. Those that are equal but written differently (1, 1.0 and true) compare by how they
    are written, so that the order in which they came does not matter."""
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
    "first": _first,
    "latest": _latest,
}
"""Combination of two cells by the rule; commutative and associative."""
