"""Optimal alignment of a path with a plan.

A path may skip a mandatory step (a model move) or have a step that the plan does not have at that
place (a log move): each costs one. Skipped optional steps cost nothing. An alignment picks steps of
the path: stages in their order, the steps of one stage in any order, each step once. Its cost is
the length of the path plus the number of mandatory steps, less two for each picked mandatory step
and one for each picked optional one. So the least cost is that of the heaviest pick, found exactly
in one pass over the path, in time proportional to the length of the path times the number of steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from pipeline.journeys.plan import JourneyPlan

_Picks: TypeAlias = "tuple[int, _Picks] | None"


@dataclass(frozen=True, slots=True)
class Alignment:
    """Deviations of a path from a plan, by numbers of steps.

    `skipped_steps`: mandatory steps that the path lacks; `repeated_steps`: picked steps that occur
    again; `swapped_steps`: steps in another place than in the plan.
    """

    cost: int
    fitness: float
    skipped_steps: tuple[int, ...]
    repeated_steps: tuple[int, ...]
    swapped_steps: tuple[int, ...]

    @property
    def fits(self) -> bool:
        """Whether the path conforms to the plan."""
        return self.cost == 0


def align(plan: JourneyPlan, path: Sequence[int]) -> Alignment:
    """Align a path, given by the numbers of its steps, at the least cost.

    Fitness is 1 − cost / (length of the path + shortest path of the plan); 1 where both are empty.
    """
    weight, picks = _find_heaviest_pick(plan, path)
    max_cost = len(path) + plan.shortest_length
    cost = max_cost - weight
    picked_steps: set[int] = set()
    while picks is not None:
        step, picks = picks
        picked_steps.add(step)
    path_steps = set(path)
    repeated_steps = {step for step in picked_steps if path.count(step) > 1}
    skipped_steps = {
        step for step, planned_step in enumerate(plan.steps) if planned_step.mandatory
    } - path_steps
    return Alignment(
        cost,
        1.0 - cost / max_cost if max_cost else 1.0,
        tuple(sorted(skipped_steps)),
        tuple(sorted(repeated_steps)),
        tuple(sorted(path_steps - picked_steps)),
    )


@dataclass(slots=True)
class _StagePick:
    """Steps of one stage picked from the place `start` of the path on, after the best pick of the
    earlier stages; `earlier_weight`: the weight of that pick."""

    start: int
    earlier_weight: int
    weight: int
    picks: _Picks


def _find_heaviest_pick(plan: JourneyPlan, path: Sequence[int]) -> tuple[int, _Picks]:
    """Return the greatest weight of a pick, and the steps picked."""
    stages = plan.stages()
    best_picks: list[tuple[int, _Picks]] = [(0, None)] * (len(stages) + 1)
    """Best pick of the stages before each stage, in the path so far."""
    open_picks: list[list[_StagePick]] = [[] for _ in stages]
    latest_places: dict[int, int] = {}
    for place, step in enumerate(path):
        stage = plan.steps[step].stage
        weight = 2 if plan.steps[step].mandatory else 1
        stage_picks = open_picks[stage]
        # A later beginning helps only after a better pick of the earlier stages.
        if not stage_picks or best_picks[stage][0] > stage_picks[-1].earlier_weight:
            stage_picks.append(_StagePick(place, best_picks[stage][0], *best_picks[stage]))
        previous_place = latest_places.get(step, -1)
        latest_places[step] = place
        for pick in stage_picks:
            if pick.start > previous_place:
                pick.weight += weight
                pick.picks = (step, pick.picks)
                _improve(best_picks, stage + 1, pick)
    return best_picks[-1]


def _improve(best_picks: list[tuple[int, _Picks]], stage: int, pick: _StagePick) -> None:
    while stage < len(best_picks) and best_picks[stage][0] < pick.weight:
        best_picks[stage] = (pick.weight, pick.picks)
        stage += 1
