"""Choices of cases of a defined journey: optional steps, the order of steps that have none, arms.

Each is compared from the moment at which it was settled, among cases still under way then: an
optional step when the next mandatory one was reached, an order when the last of its steps was, an
arm at the beginning. Nobody drew steps and orders, so what is found of them is observed only.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from pipeline.insights.choices import ChoiceRows, Kind, Option
from pipeline.insights.defined import DefinedCases
from pipeline.insights.prompts import Weighing
from pipeline.journeys.plan import JourneyPlan

TAKEN: Final = Option("step", "taken")
LEFT_OUT: Final = Option("step", "left out")
ARROW: Final = " > "
_DAY_US: Final = 86_400_000_000


@dataclass(frozen=True, slots=True)
class _FollowedCase:
    """Case whose follow-up is over; times in µs, `first` by the number of the step."""

    number: int
    first: Mapping[int, int]
    begun: int
    goal_at: int | None
    closes: int
    arm: str


@dataclass(frozen=True, slots=True)
class _SettledChoice:
    """Option that a case took, and when that was settled (µs)."""

    case: _FollowedCase
    option: Option
    at: int


def case_choices(
    cases: DefinedCases, weighing: Weighing, forbidden: Sequence[tuple[str, str]]
) -> list[ChoiceRows]:
    """Return the choices that the journey leaves open. `forbidden`: pairs of steps of which the
    first must not come before the second; such orders are no option."""
    followed = _followed_cases(cases)
    found = []
    for kind, place, settled in _choices(cases, followed, forbidden):
        kept = [one for one in settled if one.case.goal_at is None or one.case.goal_at > one.at]
        if kept:
            found.append(_rows(kind, place, kept, weighing, _shares(cases, kind)))
    return found


def _followed_cases(cases: DefinedCases) -> list[_FollowedCase]:
    paths = [one.path for one in cases.variants]
    found = cases.log.queries.rows(
        "SELECT variant, times, begun, CASE WHEN outcome = 'converted' THEN goal_at END, closes, "
        "coalesce(arm, '') FROM outcomes WHERE outcome <> 'unfinished' ORDER BY begun, case_id"
    )
    followed = []
    for number, (variant, times, begun, goal_at, closes, arm) in enumerate(found):
        first: dict[int, int] = {}
        for step, at in zip(paths[variant], times, strict=True):
            first.setdefault(step, at)
        followed.append(_FollowedCase(number, first, begun, goal_at, closes, arm))
    return followed


def _choices(
    cases: DefinedCases,
    followed: Sequence[_FollowedCase],
    forbidden: Sequence[tuple[str, str]],
) -> Iterator[tuple[Kind, str, list[_SettledChoice]]]:
    plan = cases.plan
    for number, step in enumerate(plan.steps):
        after = _next_mandatory(plan, step.stage)
        if not step.mandatory and after is not None:
            yield "step", step.name, list(_optional(followed, number, after))
    for numbers in plan.stages():
        names = [plan.steps[number].name for number in numbers]
        if len(numbers) > 1:
            yield (
                "order",
                ARROW.join(names),
                list(_orders(followed, numbers, names, forbidden)),
            )
    if any(one.arm for one in followed):
        yield "arm", "arm", list(_arms(followed))


def _arms(followed: Sequence[_FollowedCase]) -> Iterator[_SettledChoice]:
    return (_SettledChoice(one, Option("arm", one.arm), one.begun) for one in followed if one.arm)


def _next_mandatory(plan: JourneyPlan, stage: int) -> int | None:
    return next(
        (n for n, one in enumerate(plan.steps) if one.stage > stage and one.mandatory), None
    )


def _optional(followed: Sequence[_FollowedCase], step: int, after: int) -> Iterator[_SettledChoice]:
    for one in followed:
        settled = one.first.get(after)
        if settled is not None:
            taken = one.first.get(step, settled) < settled
            yield _SettledChoice(one, TAKEN if taken else LEFT_OUT, settled)


def _orders(
    followed: Sequence[_FollowedCase],
    numbers: Sequence[int],
    names: Sequence[str],
    forbidden: Sequence[tuple[str, str]],
) -> Iterator[_SettledChoice]:
    named = dict(zip(numbers, names, strict=True))
    for one in followed:
        if all(number in one.first for number in numbers):
            order = [named[each] for each in sorted(numbers, key=lambda each: one.first[each])]
            if not any(_comes_before(order, *pair) for pair in forbidden):
                settled = max(one.first[number] for number in numbers)
                yield _SettledChoice(one, Option("order", ARROW.join(order)), settled)


def _comes_before(order: Sequence[str], one: str, other: str) -> bool:
    return one in order and other in order and order.index(one) < order.index(other)


def _shares(cases: DefinedCases, kind: Kind) -> Mapping[str, float]:
    """Return the arms' shares by chance, as the journey says."""
    if kind != "arm":
        return {}
    splits = [stage.split for stage in cases.journey.steps if stage.split is not None]
    return splits[0].arms if len(splits) == 1 else {}


def _rows(
    kind: Kind,
    place: str,
    settled: Sequence[_SettledChoice],
    weighing: Weighing,
    shares: Mapping[str, float],
) -> ChoiceRows:
    options = tuple(sorted({one.option for one in settled}, key=lambda one: one.message))
    middle = sorted(one.case.begun for one in settled)[len(settled) // 2]
    worth = [_worth(one, weighing) for one in settled]
    return ChoiceRows(
        place=place,
        options=options,
        customer=np.array([one.case.number for one in settled], dtype=np.int64),
        option=np.array([options.index(one.option) for one in settled], dtype=np.int64),
        propensity=np.array(
            [shares.get(one.option.message, np.nan) for one in settled], dtype=np.float64
        ),
        stratum=np.zeros(len(settled), dtype=np.int64),
        strata=((),),
        later=np.array([one.case.begun >= middle for one in settled], dtype=np.bool_),
        worth=np.array(worth, dtype=np.float64),
        split=middle,
        end=max(one.case.closes for one in settled),
        kind=kind,
    )


def _worth(one: _SettledChoice, weighing: Weighing) -> float:
    """Return the value of the goal, less the days that it took from then on (where it never came,
    until the follow-up's end)."""
    goal_at = one.case.goal_at
    ends = one.case.closes if goal_at is None else goal_at
    days = max(ends - one.at, 0) / _DAY_US
    return weighing.value * (goal_at is not None) - weighing.day * days
