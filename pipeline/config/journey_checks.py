"""Checks of a journey beyond the form of its parts: its steps can be reached, and it ends."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import fsum
from typing import Final

from pipeline.conditions import Condition, Path, Problem, parse
from pipeline.conditions.reads import possible_names
from pipeline.conditions.tree import Compare, EventField
from pipeline.config import model
from pipeline.config.model.journeys import Journey, JourneyStage, JourneyStep

_STEP_FIELDS: Final = ("reached", "mandatory", "within", "prompts")


@dataclass(frozen=True, slots=True)
class _PlacedStep:
    """Step with its path in the file and its stage; `names`: names of the only interactions by
    which it can be reached; None: of any name."""

    step: JourneyStep
    path: Path
    stage: int
    names: frozenset[str] | None


def journey_problems(journey: Journey) -> Iterator[Problem]:
    """Check a journey, and yield every problem with its path in the file."""
    for index, stage in enumerate(journey.steps):
        yield from _stage_problems(stage, ("steps", index))
    yield from _condition_problems(journey)
    placed_steps = list(_placed_steps(journey))
    yield from _repeated_names(placed_steps)
    yield from _unreachable_steps(journey, placed_steps)
    if not (
        journey.goal
        or journey.exit
        or any(placed_step.step.mandatory for placed_step in placed_steps)
    ):
        message = "this journey cannot end: give it a goal, an exit, or a mandatory step"
        yield Problem(("journey",), message)


def _stage_problems(stage: JourneyStage, path: Path) -> Iterator[Problem]:
    kinds = [kind for kind in ("step", "any_order", "split") if getattr(stage, kind) is not None]
    if not kinds:
        yield Problem(path, "a part of a journey is a step, any_order, or split: name one")
    elif len(kinds) > 1:
        yield Problem((*path, kinds[1]), f"{kinds[0]} and {kinds[1]} are two parts: write each as "
                      "an item of its own")  # fmt: skip
    if stage.step is None:
        for name in _STEP_FIELDS:
            if getattr(stage, name) not in (None, ()):
                yield Problem((*path, name), f"{name} belongs to a step: name the step")
    elif stage.reached is None:
        message = "'reached' is missing here: the interaction by which the step is reached"
        yield Problem(path, message)
    if stage.any_order is not None and not stage.any_order:
        yield Problem((*path, "any_order"), "the list needs 1 or more")
    if stage.split is not None:
        yield from _arm_problems(stage.split.arms, (*path, "split", "arms"))


def _arm_problems(arms: dict[str, float], path: Path) -> Iterator[Problem]:
    if len(arms) < 2:
        yield Problem(path, "a split needs 2 arms or more")
    elif abs(fsum(arms.values()) - 1) > 1e-6:
        total = fsum(arms.values())
        yield Problem(path, f"the shares add up to {total:.6g}: let them add up to 1")


def _condition_problems(journey: Journey) -> Iterator[Problem]:
    for path, raw in _conditions(journey):
        tree = parse(raw)
        if isinstance(tree, tuple):
            yield from (problem.under(path) for problem in tree)


def _conditions(journey: Journey) -> Iterator[tuple[Path, model.Condition]]:
    if journey.goal is not None:
        yield ("goal", "when"), journey.goal.when
    if journey.enter is not None:
        yield ("enter", "when"), journey.enter.when
    for index, raw in enumerate(journey.exit):
        yield ("exit", index), raw
    for _, path, step in _steps(journey):
        yield (*path, "reached"), step.reached


def _steps(journey: Journey) -> Iterator[tuple[int, Path, JourneyStep]]:
    for index, stage in enumerate(journey.steps):
        for step_index, step in enumerate(stage.steps()):
            path: Path = ("steps", index)
            yield index, path if stage.any_order is None else (*path, "any_order", step_index), step


def _placed_steps(journey: Journey) -> Iterator[_PlacedStep]:
    for stage, path, step in _steps(journey):
        tree = parse(step.reached)
        names = None if isinstance(tree, tuple) else possible_names(tree)
        yield _PlacedStep(step, path, stage, names)


def _repeated_names(placed_steps: list[_PlacedStep]) -> Iterator[Problem]:
    steps: set[str] = set()
    step_by_event: dict[str, str] = {}
    for placed_step in placed_steps:
        name = placed_step.step.step
        if name in steps:
            message = f"the step {name!r} occurs twice: each needs its own name"
            yield Problem((*placed_step.path, "step"), message)
        steps.add(name)
        for event_name in sorted(_plain_names(placed_step.step.reached)):
            if event_name in step_by_event:
                message = (
                    f"{event_name!r} reaches the step {step_by_event[event_name]!r} already: let "
                    "each step be reached by an interaction of its own"
                )
                yield Problem((*placed_step.path, "reached"), message)
            step_by_event.setdefault(event_name, name)


def _unreachable_steps(journey: Journey, placed_steps: list[_PlacedStep]) -> Iterator[Problem]:
    """Yield steps whose interactions end the journey, or that come after its end."""
    exit_names = frozenset().union(*(_plain_names(raw) for raw in journey.exit))
    goal_names = _plain_names(journey.goal.when) if journey.goal else frozenset()
    end: tuple[int, str] | None = None
    for placed_step in placed_steps:
        path, name = (*placed_step.path, "step"), placed_step.step.step
        if end is not None and placed_step.stage > end[0]:
            yield Problem(path, f"nobody can reach the step {name!r}: {end[1]}")
            continue
        if placed_step.names is not None and placed_step.names <= exit_names:
            if placed_step.names:
                reason = f"{min(placed_step.names)!r} is an exit, which ends the journey first"
            else:
                reason = "no interaction has two names at once; for one or the other use any"
            yield Problem(path, f"nobody can reach the step {name!r}: {reason}")
            reason = f"the step {name!r} before it is mandatory, and nobody can reach it"
        elif placed_step.names is not None and placed_step.names <= goal_names:
            reason = (
                f"the step {name!r} before it is mandatory, and reaches the goal, which ends the "
                "journey"
            )
        else:
            continue
        if placed_step.step.mandatory:
            end = (placed_step.stage, reason)


def _plain_names(raw: model.Condition) -> frozenset[str]:
    """Return the names by which alone an interaction fulfils the condition."""
    tree = parse(raw)
    if isinstance(tree, tuple) or not _is_comparison_of_name(tree):
        return frozenset()
    return possible_names(tree) or frozenset()


def _is_comparison_of_name(tree: Condition) -> bool:
    return (
        isinstance(tree, Compare) and tree.subject == EventField("name") and len(tree.checks) == 1
    )
