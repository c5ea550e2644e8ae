"""Order of a journey's steps: stages one after the other, the steps of a stage in any order."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.conditions import duration_ms
from pipeline.config.model.journeys import Journey


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """Step by its number in the plan; `stage`: the place of its stage, from 0."""

    name: str
    stage: int
    mandatory: bool = False
    within_ms: int | None = None


@dataclass(frozen=True, slots=True)
class JourneyPlan:
    """Plan of a journey; `steps` are in the order of their stages, a step's place among them is its
    number."""

    steps: tuple[PlannedStep, ...]

    @classmethod
    def of(cls, journey: Journey) -> "JourneyPlan":
        """Return the plan of a journey that was checked; a split adds nothing to it."""
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
    def shortest(self) -> int:
        """Length of the shortest path of the plan: its mandatory steps."""
        return sum(step.mandatory for step in self.steps)

    def stages(self) -> list[list[int]]:
        """Return the numbers of the steps of each stage."""
        stages: list[list[int]] = [[] for _ in range(self.steps[-1].stage + 1 if self.steps else 0)]
        for number, step in enumerate(self.steps):
            stages[step.stage].append(number)
        return stages


@dataclass(frozen=True, slots=True)
class PlanProgress:
    """Progress of a path in the plan's order: the steps `reached`, by the plan, those of one stage
    as they came, each with its place in the path; `complete`: the place where every mandatory step
    was reached, None if it never was."""

    reached: tuple[tuple[int, int], ...]
    complete: int | None


def progress(plan: JourneyPlan, path: Sequence[int]) -> PlanProgress:
    """Follow a path through the plan.

    A step counts as reached by its first occurrence after all mandatory steps of the stages before
    it, which have to be reached likewise. Optional steps hold up none.
    """
    reached: list[tuple[int, int]] = []
    begin = 0
    for stage in plan.stages():
        found = {step: place for step in stage if (place := _first(path, step, begin)) is not None}
        reached += sorted(found.items(), key=lambda one: one[1])
        mandatory = [step for step in stage if plan.steps[step].mandatory]
        if not found.keys() >= set(mandatory):
            return PlanProgress(tuple(reached), None)
        begin = max([begin, *(found[step] + 1 for step in mandatory)])
    return PlanProgress(tuple(reached), begin - 1 if begin else None)


def _first(path: Sequence[int], step: int, begin: int) -> int | None:
    try:
        return path.index(step, begin)
    except ValueError:
        return None
