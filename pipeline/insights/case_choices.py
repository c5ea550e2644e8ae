"""Choices of cases of a defined journey: optional steps, their number, the order of unordered
steps, arms.

Options are compared from the moment at which a case's choice is certain, among cases still under
way then: an optional step from the next mandatory step, the number from the last mandatory step, an
order from the last of its steps, an arm from the beginning. Steps, numbers and orders are not
randomised, so their differences are only observed. In a test of them (`arm_of_option`), however,
cases are compared from the beginning, by their assigned arm.
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

WITH_STEP: Final = Option("step", "taken")
WITHOUT_STEP: Final = Option("step", "left out")
ARROW: Final = " > "
_DAY_US: Final = 86_400_000_000
_MAX_ORDER_STEPS: Final = 5
"""Most steps of an `any_order` of which all orders are options; more steps have too many orders, so
that only those that cases took are options."""


@dataclass(frozen=True, slots=True)
class _FollowedCase:
    """Case whose follow-up is over, from `begin_us` to `end_us`; times in µs. `first_times`: time
    of the first event of each step, by the step's number."""

    number: int
    first_times: Mapping[int, int]
    begin_us: int
    goal_at: int | None
    end_us: int
    arm: str


@dataclass(frozen=True, slots=True)
class _CaseChoice:
    """Option that a case took; `at`: time (µs) at which the choice was certain."""

    case: _FollowedCase
    option: Option
    at: int


@dataclass(frozen=True, slots=True)
class _OpenChoice:
    """Choice that the journey leaves open, with its `options`, and the choices that cases made."""

    kind: Kind
    place: str
    options: tuple[Option, ...]
    case_choices: Sequence[_CaseChoice]


def case_choices(
    cases: DefinedCases, weighing: ResultWeights, forbidden_orders: Sequence[tuple[str, str]]
) -> list[ChoiceRows]:
    """Return the rows of the choices that the journey leaves open. `forbidden_orders`: pairs of
    steps, the first of which must not come before the second."""
    followed_cases = _followed_cases(cases)
    arms = {case.arm for case in followed_cases if case.arm}
    shares = _arm_shares(cases)
    choice_rows: list[ChoiceRows] = []
    is_tested = False
    for choice in _open_choices(cases.plan, followed_cases, forbidden_orders):
        option_by_arm = {
            arm_of_option(choice.kind, choice.place, option): option for option in choice.options
        }
        is_drawn = bool(arms) and arms <= option_by_arm.keys()
        is_tested |= is_drawn
        choices = (
            _choices_by_arm(followed_cases, option_by_arm) if is_drawn else choice.case_choices
        )
        choice_rows += _option_rows(
            choice.kind, choice.place, choices, weighing, shares if is_drawn else {}
        )
    if arms and not is_tested:
        option_by_arm = {arm: Option("arm", arm) for arm in arms}
        choice_rows += _option_rows(
            "arm", "arm", _choices_by_arm(followed_cases, option_by_arm), weighing, shares
        )
    return choice_rows


def arm_of_option(kind: Kind, place: str, option: Option) -> str:
    """Return the name that a test gives to the arm of an option."""
    match kind:
        case "step":
            return config_name(f"{'with' if option == WITH_STEP else 'without'}-{place}")
        case "count":
            return config_name(f"optional-steps-{option.message}")
        case _:
            return config_name(option.message.replace(ARROW, "-then-")) or "nothing"


def config_name(text: str) -> str:
    """Return the text as a name of the configuration: lower-case letters, digits and dashes,
    beginning with a letter; empty without any letter or digit."""
    characters = "".join(
        character if character.isalnum() and character.isascii() else "-"
        for character in text.lower()
    )
    name = "-".join(part for part in characters.split("-") if part)[:60]
    return f"x-{name}" if name[:1].isdigit() else name


def _choices_by_arm(
    followed_cases: Sequence[_FollowedCase], option_by_arm: Mapping[str, Option]
) -> list[_CaseChoice]:
    return [
        _CaseChoice(case, option_by_arm[case.arm], case.begin_us)
        for case in followed_cases
        if case.arm
    ]


def _option_rows(
    kind: Kind,
    place: str,
    choices: Sequence[_CaseChoice],
    weighing: ResultWeights,
    shares: Mapping[str, float],
) -> list[ChoiceRows]:
    """Return the rows of the cases that were still under way at their choice, as a list of one;
    empty without such cases."""
    open_choices = [
        choice
        for choice in choices
        if choice.case.goal_at is None or choice.case.goal_at > choice.at
    ]
    return [_rows(kind, place, open_choices, weighing, shares)] if open_choices else []


def _followed_cases(cases: DefinedCases) -> list[_FollowedCase]:
    paths = [variant.path for variant in cases.variants]
    rows = cases.log.queries.rows(
        "SELECT variant, times, begun, CASE WHEN outcome = 'converted' THEN goal_at END, closes, "
        "coalesce(arm, '') FROM outcomes WHERE outcome <> 'unfinished' ORDER BY begun, case_id"
    )
    followed_cases = []
    for number, (variant, times, begin, goal_at, end, arm) in enumerate(rows):
        first_times: dict[int, int] = {}
        for step, at in zip(paths[variant], times, strict=True):
            first_times.setdefault(step, at)
        followed_cases.append(_FollowedCase(number, first_times, begin, goal_at, end, arm))
    return followed_cases


def _open_choices(
    plan: JourneyPlan,
    followed_cases: Sequence[_FollowedCase],
    forbidden_orders: Sequence[tuple[str, str]],
) -> Iterator[_OpenChoice]:
    optional_steps = [number for number, step in enumerate(plan.steps) if not step.mandatory]
    for number in optional_steps:
        next_mandatory = _next_mandatory_step(plan, plan.steps[number].stage)
        if next_mandatory is not None:
            choices = list(_optional_step_choices(followed_cases, number, next_mandatory))
            yield _OpenChoice("step", plan.steps[number].name, (WITH_STEP, WITHOUT_STEP), choices)
    last_mandatory = max((n for n, step in enumerate(plan.steps) if step.mandatory), default=None)
    if len(optional_steps) > 1 and last_mandatory is not None:
        counts = tuple(_count_option(number) for number in range(len(optional_steps) + 1))
        yield _OpenChoice(
            "count",
            "steps",
            counts,
            list(_count_choices(followed_cases, optional_steps, last_mandatory)),
        )
    for numbers in plan.stages():
        names = [plan.steps[number].name for number in numbers]
        if len(numbers) > 1:
            choices = list(_order_choices(followed_cases, numbers, names, forbidden_orders))
            yield _OpenChoice(
                "order",
                ARROW.join(names),
                _possible_orders(names, forbidden_orders, choices),
                choices,
            )


def _count_option(number: int) -> Option:
    return Option("count", str(number))


def _count_choices(
    followed_cases: Sequence[_FollowedCase], optional_steps: Sequence[int], last_mandatory: int
) -> Iterator[_CaseChoice]:
    for case in followed_cases:
        at = case.first_times.get(last_mandatory)
        if at is not None:
            count = sum(case.first_times.get(step, at) < at for step in optional_steps)
            yield _CaseChoice(case, _count_option(count), at)


def _possible_orders(
    names: Sequence[str],
    forbidden_orders: Sequence[tuple[str, str]],
    choices: Sequence[_CaseChoice],
) -> tuple[Option, ...]:
    if len(names) > _MAX_ORDER_STEPS:
        return tuple({choice.option for choice in choices})
    return tuple(
        Option("order", ARROW.join(order))
        for order in permutations(names)
        if not any(_is_before(order, *pair) for pair in forbidden_orders)
    )


def _next_mandatory_step(plan: JourneyPlan, stage: int) -> int | None:
    return next(
        (n for n, step in enumerate(plan.steps) if step.stage > stage and step.mandatory), None
    )


def _optional_step_choices(
    followed_cases: Sequence[_FollowedCase], step: int, next_mandatory: int
) -> Iterator[_CaseChoice]:
    for case in followed_cases:
        at = case.first_times.get(next_mandatory)
        if at is not None:
            is_taken = case.first_times.get(step, at) < at
            yield _CaseChoice(case, WITH_STEP if is_taken else WITHOUT_STEP, at)


def _order_choices(
    followed_cases: Sequence[_FollowedCase],
    numbers: Sequence[int],
    names: Sequence[str],
    forbidden_orders: Sequence[tuple[str, str]],
) -> Iterator[_CaseChoice]:
    names_by_number = dict(zip(numbers, names, strict=True))
    for case in followed_cases:
        if all(number in case.first_times for number in numbers):
            order = [
                names_by_number[number]
                for number in sorted(numbers, key=case.first_times.__getitem__)
            ]
            if not any(_is_before(order, *pair) for pair in forbidden_orders):
                at = max(case.first_times[number] for number in numbers)
                yield _CaseChoice(case, Option("order", ARROW.join(order)), at)


def _is_before(order: Sequence[str], first_step: str, second_step: str) -> bool:
    """Return whether an order has both steps, and `first_step` before `second_step`."""
    if first_step not in order or second_step not in order:
        return False
    return order.index(first_step) < order.index(second_step)


def _arm_shares(cases: DefinedCases) -> Mapping[str, float]:
    """Return the arms' shares in the journey's random split; empty without exactly one split."""
    splits = [stage.split for stage in cases.journey.steps if stage.split is not None]
    return splits[0].arms if len(splits) == 1 else {}


def _rows(
    kind: Kind,
    place: str,
    choices: Sequence[_CaseChoice],
    weighing: ResultWeights,
    shares: Mapping[str, float],
) -> ChoiceRows:
    options = tuple(
        sorted({choice.option for choice in choices}, key=lambda option: option.message)
    )
    middle_time = sorted(choice.case.begin_us for choice in choices)[len(choices) // 2]
    worth = [_worth(choice, weighing) for choice in choices]
    return ChoiceRows(
        place=place,
        options=options,
        customer=np.array([choice.case.number for choice in choices], dtype=np.int64),
        option=np.array([options.index(choice.option) for choice in choices], dtype=np.int64),
        propensity=np.array(
            [shares.get(choice.case.arm, math.nan) for choice in choices], dtype=np.float64
        ),
        stratum=np.zeros(len(choices), dtype=np.int64),
        strata=((),),
        later=np.array([choice.case.begin_us >= middle_time for choice in choices], dtype=np.bool_),
        worth=np.array(worth, dtype=np.float64),
        split=middle_time,
        end=max(choice.case.end_us for choice in choices),
        kind=kind,
    )


def _worth(choice: _CaseChoice, weighing: ResultWeights) -> float:
    """Return the value of the goal, if it was reached, less the cost of the days from the choice
    until then, or else until the end of the follow-up."""
    goal_at = choice.case.goal_at
    end = choice.case.end_us if goal_at is None else goal_at
    days = max(end - choice.at, 0) / _DAY_US
    return weighing.value * (goal_at is not None) - weighing.day * days
