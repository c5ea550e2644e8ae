"""Traits: values kept by a rule whose result does not depend on the order of interactions."""

from collections.abc import Callable
from typing import Final

from pipeline.enrichment.state import Value
from pipeline.model.interaction import Scalar


def _latest(a: Value, b: Value) -> Value:
    return a if (a.occurred_at, a.event_id) >= (b.occurred_at, b.event_id) else b


def _first(a: Value, b: Value) -> Value:
    return a if (a.occurred_at, a.event_id) <= (b.occurred_at, b.event_id) else b


def _rank(value: Scalar) -> tuple[int, float, str]:
    """Any two scalars compare: numbers before text, so that min and max never fail."""
    if isinstance(value, (bool, int, float)):
        return (0, float(value), "")
    return (1, 0.0, "" if value is None else value)


def _min(a: Value, b: Value) -> Value:
    return min(a, b, key=lambda one: (_rank(one.value), one.occurred_at, one.event_id))


def _max(a: Value, b: Value) -> Value:
    return max(a, b, key=lambda one: (_rank(one.value), one.occurred_at, one.event_id))


def _sum(a: Value, b: Value) -> Value:
    last = _latest(a, b)
    return Value(_number(a.value) + _number(b.value), last.occurred_at, last.event_id)


def _number(value: Scalar) -> int | float:
    return value if isinstance(value, (int, float)) else 0


COMBINE: Final[dict[str, Callable[[Value, Value], Value]]] = {
    "latest": _latest,
    "first": _first,
    "min": _min,
    "max": _max,
    "sum": _sum,
    "count": _sum,
}
"""How two values of a trait become one, by the trait's rule."""
