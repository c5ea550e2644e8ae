"""Order of a journey's steps: stages in order, the steps of a stage in any order."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.conditions import duration_ms
from pipeline.config.model.journeys import Journey


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """Step of a plan; `stage`: number of its stage, from 0."""

    name: str
    stage: int
    mandatory: bool = False
    time_limit_ms: int | None = None


@dataclass(frozen=True, slots=True)
class JourneyPlan:
    """Plan of a journey; `steps` are sorted by stage, a step's index is its number."""

    steps: tuple[PlannedStep, ...]

    @classmethod
    def build(cls, journey: Journey) -> "JourneyPlan":
        """Return the plan of a valid journey; a split adds no steps."""
        stages = [steps for stage in journey.steps if (steps := stage.steps())]
        return cls(
            tuple(
                PlannedStep(
                    step.step,
                    number,
                    step.mandatory,
                    None if step.within is None else duration_ms(step.within),
                )
                for number, steps in enumerate(stages)
                for step in steps
            )
        )

    @property
    def shortest_length(self) -> int:
        """Number of mandatory steps, which make up the plan's shortest path."""
        return sum(step.mandatory for step in self.steps)

    def stages(self) -> list[list[int]]:
        """Return the numbers of the steps of each stage."""
        stages: list[list[int]] = [[] for _ in range(self.steps[-1].stage + 1 if self.steps else 0)]
        for number, step in enumerate(self.steps):
            stages[step.stage].append(number)
        return stages


@dataclass(frozen=True, slots=True)
class PlanProgress:
    """Progress of a path in the plan's order.

    `reached_steps`: by stage, then by place, each with its place in the path; `completion_place`:
    the place at which all mandatory steps were reached (None: never).
    """

    reached_steps: tuple[tuple[int, int], ...]
    completion_place: int | None


def follow_path(plan: JourneyPlan, path: Sequence[int]) -> PlanProgress:
    """Follow a path through the plan.

    A step is reached by its first occurrence after all mandatory steps of the earlier stages, which
    must be reached in the same way. A path may go on without the optional steps.
    """
    reached_steps: list[tuple[int, int]] = []
    start = 0
    for stage in plan.stages():
        places = {
            step: place for step in stage if (place := _first_place(path, step, start)) is not None
        }
        reached_steps += sorted(places.items(), key=lambda item: item[1])
        mandatory_steps = [step for step in stage if plan.steps[step].mandatory]
        if not places.keys() >= set(mandatory_steps):
            return PlanProgress(tuple(reached_steps), None)
        start = max([start, *(places[step] + 1 for step in mandatory_steps)])
    return PlanProgress(tuple(reached_steps), start - 1 if start else None)


def _first_place(path: Sequence[int], step: int, start: int) -> int | None:
    try:
        return path.index(step, start)
    except ValueError:
        return None
