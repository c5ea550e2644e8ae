"""Choices of cases of a defined journey: optional steps, their number, the order of unordered
steps, arms.

Each is compared from the moment at which it was settled, among cases still under way then: an
optional step when the next mandatory one was reached, the number at the last mandatory step, an
order at the last of its steps, an arm at the beginning. Steps, numbers and orders are not
randomised, so their differences are only observed; except in a test of them (`arm_of_option`),
whose cases are compared from the beginning by their assigned arm.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Final

import numpy as np

from pipeline.insights.choices import ChoiceRows, Kind, Option
from pipeline.insights.defined import DefinedCases
from pipeline.insights.prompts import ResultWeights
from pipeline.journeys.plan import JourneyPlan

TAKEN: Final = Option("step", "taken")
LEFT_OUT: Final = Option("step", "left out")
ARROW: Final = " > "
_DAY_US: Final = 86_400_000_000
_MOST_ORDERED: Final = 5
"""Most steps of an `any_order` whose orders are all arms; more steps have too many orders."""


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
    """Option that a case took, and the time (µs) at which that was settled."""

    case: _FollowedCase
    option: Option
    at: int


@dataclass(frozen=True, slots=True)
class _OpenChoice:
    """Choice that the journey leaves open: its `options`, and those that cases took."""

    kind: Kind
    place: str
    options: tuple[Option, ...]
    settled: Sequence[_SettledChoice]


def case_choices(
    cases: DefinedCases, weighing: ResultWeights, forbidden: Sequence[tuple[str, str]]
) -> list[ChoiceRows]:
    """Return the choices that the journey leaves open. `forbidden`: pairs of steps of which the
    first must not come before the second; such orders are no option."""
    followed = _followed_cases(cases)
    arms = {case.arm for case in followed if case.arm}
    shares = _shares(cases)
    proposals, tested = [], False
    for choice in _choices(cases.plan, followed, forbidden):
        by_arm = {
            arm_of_option(choice.kind, choice.place, option): option for option in choice.options
        }
        drawn = bool(arms) and arms <= by_arm.keys()
        tested |= drawn
        settled = _settled_by_arm(followed, by_arm) if drawn else choice.settled
        proposals += _compare_options(
            choice.kind, choice.place, settled, weighing, shares if drawn else {}
        )
    if arms and not tested:
        by_arm = {arm: Option("arm", arm) for arm in arms}
        proposals += _compare_options(
            "arm", "arm", _settled_by_arm(followed, by_arm), weighing, shares
        )
    return proposals


def arm_of_option(kind: Kind, place: str, option: Option) -> str:
    """Return the name of the arm whose customers are led to an option of a choice."""
    match kind:
        case "step":
            return config_name(f"{'with' if option == TAKEN else 'without'}-{place}")
        case "count":
            return config_name(f"optional-steps-{option.message}")
        case _:
            return config_name(option.message.replace(ARROW, "-then-")) or "nothing"


def config_name(text: str) -> str:
    """Return a valid name for the configuration: lower-case letters, digits and dashes, beginning
    with a letter."""
    kept = "".join(
        character if character.isalnum() and character.isascii() else "-"
        for character in text.lower()
    )
    name = "-".join(part for part in kept.split("-") if part)[:60]
    return f"x-{name}" if name[:1].isdigit() else name


def _settled_by_arm(
    followed: Sequence[_FollowedCase], by_arm: Mapping[str, Option]
) -> list[_SettledChoice]:
    return [_SettledChoice(case, by_arm[case.arm], case.begun) for case in followed if case.arm]


def _compare_options(
    kind: Kind,
    place: str,
    settled: Sequence[_SettledChoice],
    weighing: ResultWeights,
    shares: Mapping[str, float],
) -> list[ChoiceRows]:
    """Return the rows of cases that were still under way; none where there is no such case."""
    kept = [
        choice
        for choice in settled
        if choice.case.goal_at is None or choice.case.goal_at > choice.at
    ]
    return [_rows(kind, place, kept, weighing, shares)] if kept else []


def _followed_cases(cases: DefinedCases) -> list[_FollowedCase]:
    paths = [variant.path for variant in cases.variants]
    rows = cases.log.queries.rows(
        "SELECT variant, times, begun, CASE WHEN outcome = 'converted' THEN goal_at END, closes, "
        "coalesce(arm, '') FROM outcomes WHERE outcome <> 'unfinished' ORDER BY begun, case_id"
    )
    followed = []
    for number, (variant, times, begun, goal_at, closes, arm) in enumerate(rows):
        first: dict[int, int] = {}
        for step, at in zip(paths[variant], times, strict=True):
            first.setdefault(step, at)
        followed.append(_FollowedCase(number, first, begun, goal_at, closes, arm))
    return followed


def _choices(
    plan: JourneyPlan,
    followed: Sequence[_FollowedCase],
    forbidden: Sequence[tuple[str, str]],
) -> Iterator[_OpenChoice]:
    optional = [number for number, step in enumerate(plan.steps) if not step.mandatory]
    for number in optional:
        after = _next_mandatory(plan, plan.steps[number].stage)
        if after is not None:
            settled = list(_optional(followed, number, after))
            yield _OpenChoice("step", plan.steps[number].name, (TAKEN, LEFT_OUT), settled)
    last = max((n for n, step in enumerate(plan.steps) if step.mandatory), default=None)
    if len(optional) > 1 and last is not None:
        counts = tuple(_count(number) for number in range(len(optional) + 1))
        yield _OpenChoice("count", "steps", counts, list(_counts(followed, optional, last)))
    for numbers in plan.stages():
        names = [plan.steps[number].name for number in numbers]
        if len(numbers) > 1:
            settled = list(_orders(followed, numbers, names, forbidden))
            yield _OpenChoice(
                "order", ARROW.join(names), _possible_orders(names, forbidden, settled), settled
            )


def _count(number: int) -> Option:
    return Option("count", str(number))


def _counts(
    followed: Sequence[_FollowedCase], optional: Sequence[int], last: int
) -> Iterator[_SettledChoice]:
    for case in followed:
        settled = case.first.get(last)
        if settled is not None:
            taken = sum(case.first.get(step, settled) < settled for step in optional)
            yield _SettledChoice(case, _count(taken), settled)


def _possible_orders(
    names: Sequence[str],
    forbidden: Sequence[tuple[str, str]],
    settled: Sequence[_SettledChoice],
) -> tuple[Option, ...]:
    if len(names) > _MOST_ORDERED:
        return tuple({choice.option for choice in settled})
    return tuple(
        Option("order", ARROW.join(order))
        for order in permutations(names)
        if not any(_comes_before(order, *pair) for pair in forbidden)
    )


def _next_mandatory(plan: JourneyPlan, stage: int) -> int | None:
    return next(
        (n for n, step in enumerate(plan.steps) if step.stage > stage and step.mandatory), None
    )


def _optional(followed: Sequence[_FollowedCase], step: int, after: int) -> Iterator[_SettledChoice]:
    for case in followed:
        settled = case.first.get(after)
        if settled is not None:
            taken = case.first.get(step, settled) < settled
            yield _SettledChoice(case, TAKEN if taken else LEFT_OUT, settled)


def _orders(
    followed: Sequence[_FollowedCase],
    numbers: Sequence[int],
    names: Sequence[str],
    forbidden: Sequence[tuple[str, str]],
) -> Iterator[_SettledChoice]:
    named = dict(zip(numbers, names, strict=True))
    for case in followed:
        if all(number in case.first for number in numbers):
            order = [
                named[number_of_step]
                for number_of_step in sorted(
                    numbers, key=lambda number_of_step: case.first[number_of_step]
                )
            ]
            if not any(_comes_before(order, *pair) for pair in forbidden):
                settled = max(case.first[number] for number in numbers)
                yield _SettledChoice(case, Option("order", ARROW.join(order)), settled)


def _comes_before(order: Sequence[str], earlier: str, other: str) -> bool:
    return earlier in order and other in order and order.index(earlier) < order.index(other)


def _shares(cases: DefinedCases) -> Mapping[str, float]:
    """Return the arms' shares in the journey's random split."""
    splits = [stage.split for stage in cases.journey.steps if stage.split is not None]
    return splits[0].arms if len(splits) == 1 else {}


def _rows(
    kind: Kind,
    place: str,
    settled: Sequence[_SettledChoice],
    weighing: ResultWeights,
    shares: Mapping[str, float],
) -> ChoiceRows:
    options = tuple(sorted({entry.option for entry in settled}, key=lambda entry: entry.message))
    middle = sorted(choice.case.begun for choice in settled)[len(settled) // 2]
    worth = [_worth(choice, weighing) for choice in settled]
    return ChoiceRows(
        place=place,
        options=options,
        customer=np.array([choice.case.number for choice in settled], dtype=np.int64),
        option=np.array([options.index(choice.option) for choice in settled], dtype=np.int64),
        propensity=np.array(
            [shares.get(choice.case.arm, math.nan) for choice in settled], dtype=np.float64
        ),
        stratum=np.zeros(len(settled), dtype=np.int64),
        strata=((),),
        later=np.array([choice.case.begun >= middle for choice in settled], dtype=np.bool_),
        worth=np.array(worth, dtype=np.float64),
        split=middle,
        end=max(choice.case.closes for choice in settled),
        kind=kind,
    )


def _worth(choice: _SettledChoice, weighing: ResultWeights) -> float:
    """Return the value of the goal, less the cost of the days until it (without a goal, until the
    follow-up's end)."""
    goal_at = choice.case.goal_at
    ends = choice.case.closes if goal_at is None else goal_at
    days = max(ends - choice.at, 0) / _DAY_US
    return weighing.value * (goal_at is not None) - weighing.day * days
