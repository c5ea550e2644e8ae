"""Campaigns that no customer can enter, because their conditions contradict each other."""

from collections.abc import Collection, Iterable, Iterator
from math import inf
from typing import Final, TypeAlias

from pipeline.conditions import Condition, Path, Problem, parse
from pipeline.conditions.reads import only_names
from pipeline.conditions.tree import All, Any, Check, Compare, Entered, Member, Not, Subject
from pipeline.config import model

_MEND = "no customer can match: these conditions contradict each other"


def unreachable(campaign: model.Campaign, path: Path) -> Iterator[Problem]:
    """Yield a problem where no customer can fulfil the conditions of a campaign or an offer."""
    audience, trigger = _tree(campaign.audience), _tree(campaign.trigger)
    asked = all(treatment.placement for offer in campaign.offers for treatment in offer.treatments)
    whole = [
        condition for condition in (audience, None if asked else trigger) if condition is not None
    ]
    if contradictory(whole):
        field = "audience" if campaign.audience is not None else "trigger"
        yield Problem((*path, field), _MEND)
        return
    for index, offer in enumerate(campaign.offers):
        when = _tree(offer.when)
        if when is not None and audience is not None and contradictory([audience, when]):
            yield Problem((*path, "offers", index, "when"), f"{_MEND}, the audience's among them")
        elif when is not None and contradictory([when]):
            yield Problem((*path, "offers", index, "when"), _MEND)


def contradictory(conditions: Iterable[Condition]) -> bool:
    """Return True if the conditions certainly cannot all hold."""
    together = All(tuple(conditions))
    parts = list(_conjuncts(together))
    names = only_names(together)
    if names is not None and not names:
        return True
    if any(
        isinstance(conjunct, Any) and all(contradictory([part]) for part in conjunct.parts)
        for conjunct in parts
    ):
        return True
    wanted = {part for part in parts if isinstance(part, Member | Entered | Compare)}
    if any(isinstance(part, Not) and part.part in wanted for part in parts):
        return True
    checks: dict[Subject, list[Check]] = {}
    for conjunct in parts:
        if isinstance(conjunct, Compare):
            checks.setdefault(conjunct.subject, []).extend(conjunct.checks)
    return any(_impossible(check) for check in checks.values())


def _tree(raw: model.Condition | None) -> Condition | None:
    """Parse a condition; None for an invalid one, which another check reports."""
    tree = None if raw is None else parse(raw)
    return None if isinstance(tree, tuple) else tree


def _conjuncts(tree: Condition) -> Iterator[Condition]:
    if isinstance(tree, All):
        for part in tree.parts:
            yield from _conjuncts(part)
    else:
        yield tree


_Bound: TypeAlias = tuple[float, bool]
_ANY: Final[tuple[_Bound, _Bound]] = ((-inf, False), (inf, True))
_HOLD_OF_NOTHING: Final = ("is_not", "not_in")


def _impossible(checks: Collection[Check]) -> bool:
    """Return whether no value passes all checks."""
    absent = Check("exists", False)
    if absent in checks:
        return any(check.operator not in _HOLD_OF_NOTHING and check != absent for check in checks)
    low, high = _bounds(checks)
    (least, open_low), (most, closed_high) = low, high
    if least > most or (least == most and (open_low or not closed_high)):
        return True
    values = _values(checks, ordered=(low, high) != _ANY)
    return values is not None and not any(_within(value, low, high) for value in values)


def _bounds(checks: Iterable[Check]) -> tuple[_Bound, _Bound]:
    """Return the lower bound and whether it is open, the upper and whether it is closed."""
    low, high = _ANY
    for check in checks:
        match check.operator, check.operand:
            case "gt" | "gte", int() | float() as least:
                low = max(low, (least, check.operator == "gt"))
            case "lt" | "lte", int() | float() as most:
                high = min(high, (most, check.operator == "lte"))
    return low, high


def _values(checks: Iterable[Check], ordered: bool) -> set[object] | None:
    """Return the possible values; None: any.

    The value may be a list, which has no order and equals no single value: then each `in` may hold
    for another element.
    """
    equal: set[object] | None = None
    among: set[object] | None = None
    refused: set[object] = set()
    for check in checks:
        match check.operator, check.operand:
            case "is", str() | int() | float() as value:
                equal = {value} if equal is None else equal & {value}
            case "in", tuple() as values:
                among = set(values) if among is None else among.intersection(values)
            case "is_not", str() | int() | float() as value:
                refused.add(value)
            case "not_in", tuple() as values:
                refused.update(values)
    if equal is None:
        return among - refused if among is not None and ordered else None
    return (equal if among is None else equal & among) - refused


def _within(value: object, low: _Bound, high: _Bound) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return True
    return (value, False) >= low and (value, True) <= high
