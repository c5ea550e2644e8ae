"""Campaigns that no customer can enter, because their conditions contradict each other."""

from collections.abc import Collection, Iterable, Iterator
from math import inf
from typing import Final, TypeAlias

from pipeline.conditions import Condition, Path, Problem, parse
from pipeline.conditions.reads import possible_names
from pipeline.conditions.tree import All, Any, Check, Compare, Entered, Member, Not, Subject
from pipeline.config import model

_CONTRADICTION = "no customer can match: these conditions contradict each other"


def unreachable_problems(campaign: model.Campaign, path: Path) -> Iterator[Problem]:
    """Yield a problem where no customer can fulfil the conditions of a campaign or an offer."""
    audience, trigger = _tree(campaign.audience), _tree(campaign.trigger)
    treatments = (treatment for offer in campaign.offers for treatment in offer.treatments)
    needs_trigger = not all(treatment.placement for treatment in treatments)
    shared_conditions = [
        tree for tree in (audience, trigger if needs_trigger else None) if tree is not None
    ]
    if is_contradictory(shared_conditions):
        field = "audience" if campaign.audience is not None else "trigger"
        yield Problem((*path, field), _CONTRADICTION)
        return
    for index, offer in enumerate(campaign.offers):
        condition = _tree(offer.when)
        if (
            condition is not None
            and audience is not None
            and is_contradictory([audience, condition])
        ):
            yield Problem(
                (*path, "offers", index, "when"), f"{_CONTRADICTION}, the audience's among them"
            )
        elif condition is not None and is_contradictory([condition]):
            yield Problem((*path, "offers", index, "when"), _CONTRADICTION)


def is_contradictory(conditions: Iterable[Condition]) -> bool:
    """Return True if the conditions certainly cannot all hold."""
    conjunction = All(tuple(conditions))
    parts = list(_conjuncts(conjunction))
    names = possible_names(conjunction)
    if names is not None and not names:
        return True
    if any(
        isinstance(conjunct, Any) and all(is_contradictory([part]) for part in conjunct.parts)
        for conjunct in parts
    ):
        return True
    requirements = {part for part in parts if isinstance(part, Member | Entered | Compare)}
    if any(isinstance(part, Not) and part.part in requirements for part in parts):
        return True
    checks_by_subject: dict[Subject, list[Check]] = {}
    for conjunct in parts:
        if isinstance(conjunct, Compare):
            checks_by_subject.setdefault(conjunct.subject, []).extend(conjunct.checks)
    return any(map(_are_impossible, checks_by_subject.values()))


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


_Limit: TypeAlias = tuple[float, bool]
_NO_LIMITS: Final[tuple[_Limit, _Limit]] = ((-inf, False), (inf, True))
_OPERATORS_TRUE_WITHOUT_VALUE: Final = ("is_not", "not_in")


def _are_impossible(checks: Collection[Check]) -> bool:
    """Return whether no value passes all checks."""
    absence = Check("exists", False)
    if absence in checks:
        return any(
            check.operator not in _OPERATORS_TRUE_WITHOUT_VALUE and check != absence
            for check in checks
        )
    low_limit, high_limit = _limits(checks)
    (lowest, open_low), (highest, closed_high) = low_limit, high_limit
    if lowest > highest or (lowest == highest and (open_low or not closed_high)):
        return True
    values = _values(checks, is_ordered=(low_limit, high_limit) != _NO_LIMITS)
    return values is not None and not any(
        _is_within(value, low_limit, high_limit) for value in values
    )


def _limits(checks: Iterable[Check]) -> tuple[_Limit, _Limit]:
    """Return the lower limit and whether it is open, the upper and whether it is closed."""
    low_limit, high_limit = _NO_LIMITS
    for check in checks:
        match check.operator, check.operand:
            case "gt" | "gte", int() | float() as limit:
                low_limit = max(low_limit, (limit, check.operator == "gt"))
            case "lt" | "lte", int() | float() as limit:
                high_limit = min(high_limit, (limit, check.operator == "lte"))
    return low_limit, high_limit


def _values(checks: Iterable[Check], is_ordered: bool) -> set[object] | None:
    """Return the possible values; None: any.

    The value may be a list, which has no order and equals no single value: then each `in` may hold
    for another element.
    """
    equal_values: set[object] | None = None
    choices: set[object] | None = None
    exclusions: set[object] = set()
    for check in checks:
        match check.operator, check.operand:
            case "is", str() | int() | float() as value:
                equal_values = {value} if equal_values is None else equal_values & {value}
            case "in", tuple() as values:
                choices = set(values) if choices is None else choices.intersection(values)
            case "is_not", str() | int() | float() as value:
                exclusions.add(value)
            case "not_in", tuple() as values:
                exclusions.update(values)
    if equal_values is None:
        return choices - exclusions if choices is not None and is_ordered else None
    return (equal_values if choices is None else equal_values & choices) - exclusions


def _is_within(value: object, low_limit: _Limit, high_limit: _Limit) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return True
    return (value, False) >= low_limit and (value, True) <= high_limit
