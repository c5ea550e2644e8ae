"""Cells: what interactions add up to, in whatever order they come."""

from collections.abc import Callable
from typing import Any, Final

from pipeline.enrichment.state import Cell, Value
from pipeline.model.interaction import Scalar

MILLION: Final = 1_000_000
_MOST: Final = 2**63 - 1


def millionths(value: Scalar) -> int | None:
    """A number to add up, exactly; None for what is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return _bounded(round(value * MILLION))


def number(total: int) -> int | float:
    """The reverse of `millionths`; whole where it is whole."""
    whole, rest = divmod(total, MILLION)
    return whole if rest == 0 else total / MILLION


def _bounded(total: int) -> int:
    """As much as 64 bits hold: ±9.2 * 10^12."""
    return max(-_MOST, min(_MOST, total))


def _add(a: int, b: int) -> int:
    return _bounded(a + b)


def _latest(a: Value, b: Value) -> Value:
    return a if (a.occurred_at, a.event_id) >= (b.occurred_at, b.event_id) else b


def _first(a: Value, b: Value) -> Value:
    return a if (a.occurred_at, a.event_id) <= (b.occurred_at, b.event_id) else b


def _rank(value: Scalar) -> tuple[int, float, str]:
    """Any two scalars compare: numbers before text, so that min and max never fail."""
    if isinstance(value, (bool, int, float)):
        return (0, float(value), type(value).__name__)
    return (1, 0.0, "" if value is None else value)


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
"""How two cells become one, by the rule; commutative and associative."""
