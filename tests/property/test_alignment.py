"""Alignments have the least possible cost, by comparison with every path of small plans."""

from collections.abc import Iterator, Sequence
from itertools import combinations, permutations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.journeys.alignment import align
from pipeline.journeys.plan import JourneyPlan, PlannedStep, follow_path

STAGES = st.lists(st.lists(st.booleans(), min_size=1, max_size=3), min_size=0, max_size=4)


@st.composite
def plans_and_paths(draw: st.DrawFn) -> tuple[JourneyPlan, list[int]]:
    """Draw a plan and a path of its steps, in any order and with repeats."""
    stages = draw(STAGES)
    steps = [
        PlannedStep(f"s{number}-{place}", number, mandatory)
        for number, stage in enumerate(stages)
        for place, mandatory in enumerate(stage)
    ]
    known_steps = st.integers(0, len(steps) - 1) if steps else st.nothing()
    path = draw(st.lists(known_steps, max_size=9)) if steps else []
    return JourneyPlan(tuple(steps)), path


def paths_of(plan: JourneyPlan) -> list[tuple[int, ...]]:
    """Return every path that the plan allows."""
    paths: list[tuple[int, ...]] = [()]
    for stage in plan.stages():
        mandatory_steps = [step for step in stage if plan.steps[step].mandatory]
        optional_steps = [step for step in stage if not plan.steps[step].mandatory]
        orders = [
            order
            for size in range(len(optional_steps) + 1)
            for subset in combinations(optional_steps, size)
            for order in permutations([*mandatory_steps, *subset])
        ]
        paths = [(*path, *order) for path in paths for order in orders]
    return paths


def edit_distance(path: Sequence[int], model: Sequence[int]) -> int:
    """Return the number of insertions and deletions that turn `path` into `model`."""
    row = list(range(len(model) + 1))
    for place, step in enumerate(path, start=1):
        previous_row, row = row, [place]
        for column, model_step in enumerate(model, start=1):
            cost = min(previous_row[column], row[-1]) + 1
            row.append(min(cost, previous_row[column - 1]) if step == model_step else cost)
    return row[-1]


def is_subsequence(part: Sequence[int], path: Sequence[int]) -> bool:
    steps_left = iter(path)
    return all(step in steps_left for step in part)


@given(plans_and_paths())
def test_cost_is_the_least_over_all_paths_of_the_plan(
    case: tuple[JourneyPlan, list[int]],
) -> None:
    plan, path = case
    model_paths = paths_of(plan)
    cost = min(edit_distance(path, model) for model in model_paths)
    max_cost = len(path) + min(len(model) for model in model_paths)
    alignment = align(plan, path)
    assert alignment.cost == cost
    assert alignment.fitness == (1 - cost / max_cost if max_cost else 1)
    assert alignment.fits is (tuple(path) in model_paths)


@given(plans_and_paths())
def test_deviations_add_up_to_the_cost(case: tuple[JourneyPlan, list[int]]) -> None:
    plan, path = case
    alignment = align(plan, path)
    mandatory_steps = {
        step for step, planned_step in enumerate(plan.steps) if planned_step.mandatory
    }
    repeat_count = len(path) - len(set(path))
    swap_cost = sum(2 if step in mandatory_steps else 1 for step in alignment.swapped_steps)
    assert alignment.cost == len(alignment.skipped_steps) + swap_cost + repeat_count
    assert set(alignment.skipped_steps) == mandatory_steps - set(path)
    assert set(alignment.repeated_steps) | set(alignment.swapped_steps) >= {
        s for s in path if path.count(s) > 1
    }


def prefixes_ending_with(plan: JourneyPlan, step: int) -> Iterator[tuple[int, ...]]:
    for path in paths_of(plan):
        if step in path:
            yield path[: path.index(step) + 1]


@given(plans_and_paths())
def test_step_is_reached_if_a_planned_prefix_up_to_it_is_a_subsequence_of_the_path(
    case: tuple[JourneyPlan, list[int]],
) -> None:
    plan, path = case
    reached_steps = {step for step, _ in follow_path(plan, path).reached_steps}
    for step in range(len(plan.steps)):
        prefixes = prefixes_ending_with(plan, step)
        assert (step in reached_steps) is any(is_subsequence(prefix, path) for prefix in prefixes)


@given(plans_and_paths())
def test_path_is_complete_at_its_shortest_prefix_with_all_mandatory_steps_in_plan_order(
    case: tuple[JourneyPlan, list[int]],
) -> None:
    plan, path = case
    shortest_paths = [
        model_path for model_path in paths_of(plan) if len(model_path) == plan.shortest_length
    ]
    expected = next(
        (
            index
            for index in range(len(path))
            if plan.shortest_length
            and any(is_subsequence(model_path, path[: index + 1]) for model_path in shortest_paths)
        ),
        None,
    )
    assert follow_path(plan, path).completion_place == expected
