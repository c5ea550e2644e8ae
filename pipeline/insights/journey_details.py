"""Defined journey in depth: deviations, flows, time to convert, plan against actual path, and
associations with conversion and drop-off.

Results are observed associations. Comparisons are by landmark: groups are formed by the facts known
at a moment, among cases still under way then, and compared by their outcomes after it.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from pipeline.conditions import duration_ms
from pipeline.insights.associations import Association, associations
from pipeline.insights.defined import CaseOutcome, DefinedCases
from pipeline.insights.survival import (
    BoundedShare,
    ConversionCurve,
    FollowedCases,
    conversion_curve,
    difference,
    kaplan_meier,
)
from pipeline.journeys.plan import JourneyPlan

_DAY_US: Final = 86_400_000_000
_MOST_CHANNELS: Final = 20
HOLDOUT: Final = "holdout"
OTHER_CHANNELS: Final = "(other channels)"
NO_CHANNEL: Final = "(no channel)"


@dataclass(frozen=True, slots=True)
class StepDetails:
    """Figures of a step. `dropped`, `unfinished`: cases whose last step it is, by outcome; `late`:
    reached after its time limit; `median_ms`: from the case's beginning, of those who reached it.
    `skipped`, `repeated`, `swapped`: cases that deviate from the plan there."""

    step: str
    mandatory: bool
    cases: int
    dropped: int
    unfinished: int
    late: int
    median_ms: float | None
    skipped: int
    repeated: int
    swapped: int


@dataclass(frozen=True, slots=True)
class ChannelStep:
    """Cases that began in a channel, by the step that they reached, and the drop-offs after it."""

    channel: str
    step: str
    cases: int
    dropped: int


@dataclass(frozen=True, slots=True)
class StepFlow:
    """Cases that went from a step (None: the beginning) to the next one, or ended there."""

    after: str | None
    to: str | None
    end: CaseOutcome | None
    cases: int


@dataclass(frozen=True, slots=True)
class ChannelCurve:
    """Time to convert of the cases that began in a channel."""

    channel: str
    curve: ConversionCurve


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two groups from a landmark on; `more`: difference of their shares that converted."""

    landmark: str
    with_it: ConversionCurve
    without_it: ConversionCurve
    more: BoundedShare | None


@dataclass(frozen=True, slots=True)
class ArmComparison:
    """Arm, as the table assigns it, against the `reference`."""

    arm: str
    reference: str
    compared: Comparison


@dataclass(frozen=True, slots=True)
class JourneyDetails:
    """Details of a journey; `early_ms`: time from its beginning in which a case is examined for
    `associations`."""

    outcomes: dict[CaseOutcome, int]
    repeated_rows: int
    steps: tuple[StepDetails, ...]
    channel_steps: tuple[ChannelStep, ...]
    flows: tuple[StepFlow, ...]
    time_to_convert: ConversionCurve
    by_channel: tuple[ChannelCurve, ...]
    followed_plan: Comparison | None
    arms: tuple[ArmComparison, ...]
    early_ms: int
    associations: tuple[Association, ...]


def journey_details(cases: DefinedCases, early_ms: int | None = None) -> JourneyDetails:
    """Answer in depth; `early_ms`: a tenth of the goal's window, or else a day."""
    early = _early(cases) if early_ms is None else early_ms * 1000
    _load_progress(cases)
    outcomes: Counter[CaseOutcome] = Counter()
    for variant in cases.variants:
        outcomes.update(variant.outcomes)
    curves = _curves(cases)
    whole = [row for group in curves.values() for row in group]
    return JourneyDetails(
        {kind: outcomes[kind] for kind in ("converted", "dropped", "unfinished")},
        cases.log.repeated_rows,
        tuple(_steps(cases)),
        tuple(_channel_steps(cases)),
        tuple(_flows(cases)),
        conversion_curve(whole),
        tuple(ChannelCurve(name, conversion_curve(group)) for name, group in curves.items()),
        _followed_plan(cases),
        tuple(_arms(cases)),
        early // 1000,
        tuple(associations(cases, early)),
    )


def _early(cases: DefinedCases) -> int:
    goal = cases.journey.goal
    return duration_ms(goal.window) * 100 if goal and goal.window else _DAY_US


def _load_progress(cases: DefinedCases) -> None:
    """Load `reached` (each variant's steps, with their places and the place of the mandatory step
    before, -1: none) and `lasts` (the last step, -1: none)."""
    rows = [
        (variant, step, place, gate, rank == len(counted.progress.reached_steps) - 1)
        for variant, counted in enumerate(cases.variants)
        for rank, (step, place, gate) in enumerate(
            _gate_steps(cases.plan, counted.progress.reached_steps)
        )
    ]
    columns = list(zip(*rows, strict=True)) or [()] * 5
    types = (pa.int64(), pa.int32(), pa.int64(), pa.int64(), pa.bool_())
    names = ("variant", "step", "place", "gate", "is_last")
    arrays = [pa.array(column, kind) for column, kind in zip(columns, types, strict=True)]
    queries = cases.log.queries
    queries.load("reached", pa.table(dict(zip(names, arrays, strict=True))))
    queries.view(
        "channelled",
        f"""
        WITH counted AS (
            SELECT channel AS known FROM outcomes GROUP BY channel
            ORDER BY count(*) DESC, channel LIMIT {_MOST_CHANNELS}
        )
        SELECT o.*, CASE WHEN known IS NULL THEN '{OTHER_CHANNELS}'
            WHEN known = '' THEN '{NO_CHANNEL}' ELSE known END AS began_in
        FROM outcomes AS o LEFT JOIN counted ON o.channel = known
        """,
    )


def _gate_steps(
    plan: JourneyPlan, reached: tuple[tuple[int, int], ...]
) -> Iterator[tuple[int, int, int]]:
    """Yield each step reached with its place and that of the last mandatory one of the stages
    before."""
    gate = latest = -1
    stage = 0
    for step, place in reached:
        if plan.steps[step].stage != stage:
            stage, gate = plan.steps[step].stage, latest
        if plan.steps[step].mandatory:
            latest = max(latest, place)
        yield step, place, gate


def _steps(defined: DefinedCases) -> Iterator[StepDetails]:
    deviations: dict[str, Counter[int]] = defaultdict(Counter)
    for variant in defined.variants:
        last = variant.progress.reached_steps[-1][0] if variant.progress.reached_steps else -1
        for kind in ("skipped", "repeated", "swapped"):
            for step in getattr(variant.alignment, kind):
                deviations[kind][step] += variant.cases
        for outcome, cases in variant.outcomes.items():
            deviations[outcome][last] += cases
    timed = _step_times(defined)
    for number, step in enumerate(defined.plan.steps):
        cases, late, median = timed.get(number, (0, 0, None))
        counts = {kind: counted[number] for kind, counted in deviations.items()}
        yield StepDetails(
            step.name,
            step.mandatory,
            cases,
            counts.get("dropped", 0),
            counts.get("unfinished", 0),
            late,
            median,
            counts.get("skipped", 0),
            counts.get("repeated", 0),
            counts.get("swapped", 0),
        )


def _step_times(defined: DefinedCases) -> dict[int, tuple[int, int, float]]:
    limits = [step.within_ms for step in defined.plan.steps]
    defined.log.queries.load(
        "limits",
        pa.table(
            {
                "step": pa.array(range(len(limits)), pa.int32()),
                "within": pa.array(limits, pa.int64()),
            }
        ),
    )
    rows = defined.log.queries.rows(
        """
        SELECT step, count(*), count(*) FILTER (within IS NOT NULL AND waited >= within * 1000),
            median(since) / 1000
        FROM (
            SELECT r.step, l.within, greatest(o.times[r.place + 1] - o.begun, 0) AS since,
                o.times[r.place + 1] - greatest(coalesce(
                    CASE WHEN r.gate >= 0 THEN o.times[r.gate + 1] END, o.begun), o.begun) AS waited
            FROM outcomes AS o JOIN reached AS r ON o.variant = r.variant
            JOIN limits AS l ON r.step = l.step
        ) GROUP BY step
        """
    )
    return {step: (cases, late, median) for step, cases, late, median in rows}


def _channel_steps(defined: DefinedCases) -> Iterator[ChannelStep]:
    rows = defined.log.queries.rows(
        """
        SELECT began_in, step, count(*), count(*) FILTER (is_last AND outcome = 'dropped')
        FROM channelled AS o JOIN reached AS r ON o.variant = r.variant
        GROUP BY began_in, step ORDER BY began_in, step
        """
    )
    for channel, step, cases, dropped in rows:
        yield ChannelStep(channel, defined.plan.steps[step].name, cases, dropped)


def _flows(defined: DefinedCases) -> Iterator[StepFlow]:
    """Yield every edge of the Sankey diagram; the cases into and out of a step equal the
    funnel's."""
    flows: Counter[tuple[int, int, CaseOutcome | None]] = Counter()
    for variant in defined.variants:
        last = -1
        for step, _ in variant.progress.reached_steps:
            flows[last, step, None] += variant.cases
            last = step
        for outcome, cases in variant.outcomes.items():
            flows[last, -1, outcome] += cases
    names = (*(step.name for step in defined.plan.steps), None)  # of step -1: none
    for (after, to, end), cases in sorted(
        flows.items(), key=lambda flow: (-flow[1], flow[0][:2], str(flow[0][2]))
    ):
        yield StepFlow(names[after], names[to], end, cases)


def _curves(cases: DefinedCases) -> dict[str, list[FollowedCases]]:
    """Return the follow-up time of the cases of each channel; a case that left by an exit cannot
    convert any more, and is followed until the window closes."""
    curves: dict[str, list[FollowedCases]] = {}
    for channel, *figures in cases.log.queries.rows(
        f"""
        SELECT began_in, {_duration("begun")} AS duration, outcome = 'converted' AS converted,
            count(*) AS cases
        FROM channelled GROUP BY ALL ORDER BY began_in, duration, converted
        """
    ):
        curves.setdefault(channel, []).append(FollowedCases(*figures))
    return curves


def _duration(since: str) -> str:
    """Return SQL for the time in ms for which a case was followed from a moment on."""
    end = "CASE WHEN outcome = 'converted' THEN goal_at ELSE closes END"
    return f"greatest({end} - {since}, 0) // 1000"


def _followed_plan(cases: DefinedCases) -> Comparison | None:
    """Compare, at the landmark of the first mandatory step (or else the first), the cases that had
    kept to the plan and to the step's time limit with the others."""
    steps = cases.plan.steps
    first = next((number for number, step in enumerate(steps) if step.mandatory), 0)
    places = [dict(variant.progress.reached_steps).get(first) for variant in cases.variants]
    kept = [
        place is not None and _keeps_to(cases.plan, variant.path[: place + 1])
        for variant, place in zip(cases.variants, places, strict=True)
    ]
    variants = pa.array(range(len(places)), pa.int64())
    table = {"variant": variants, "place": pa.array(places, pa.int64()), "kept": pa.array(kept)}
    if not places:
        return None
    cases.log.queries.load("landmarks", pa.table(table))
    within = steps[first].within_ms
    in_time = "TRUE" if within is None else f"reached_at - begun < {within * 1000}"
    rows = cases.log.queries.rows(
        f"""
        SELECT kept AND {in_time} AS group_of, {_duration("reached_at")} AS duration,
            outcome = 'converted' AS converted, count(*) AS cases
        FROM (
            SELECT o.*, l.kept, greatest(o.times[l.place + 1], o.begun) AS reached_at
            FROM outcomes AS o JOIN landmarks AS l ON o.variant = l.variant
            WHERE l.place IS NOT NULL
        )
        WHERE reached_at < closes AND (goal_at IS NULL OR goal_at > reached_at)
            AND (left_at IS NULL OR left_at > reached_at)
        GROUP BY ALL ORDER BY duration, converted
        """
    )
    groups: dict[bool, list[FollowedCases]] = {True: [], False: []}
    for group, *figures in rows:
        groups[group].append(FollowedCases(*figures))
    landmark = f"the step {steps[first].name} was reached"
    return _comparison(landmark, groups[True], groups[False])


def _keeps_to(plan: JourneyPlan, path: tuple[int, ...]) -> bool:
    """Return whether a path up to the first mandatory step has each step once and in order."""
    stages = [plan.steps[step].stage for step in path]
    return stages == sorted(stages) and len(set(path)) == len(path)


def _arms(cases: DefinedCases) -> Iterator[ArmComparison]:
    """Compare each arm with the holdout, or else with the first by name, from the beginning on."""
    rows = cases.log.queries.rows(
        f"""
        SELECT arm, {_duration("begun")} AS duration, outcome = 'converted' AS converted,
            count(*) AS cases
        FROM outcomes WHERE arm IS NOT NULL GROUP BY ALL ORDER BY arm, duration, converted
        """
    )
    arms: dict[str, list[FollowedCases]] = {}
    for arm, *figures in rows:
        arms.setdefault(arm, []).append(FollowedCases(*figures))
    reference = HOLDOUT if HOLDOUT in arms else next(iter(arms), None)
    for arm, followed in arms.items():
        if reference is not None and arm != reference:
            compared = _comparison("the case began", followed, arms[reference])
            yield ArmComparison(arm, reference, compared)


def _comparison(
    landmark: str, with_it: Sequence[FollowedCases], without_it: Sequence[FollowedCases]
) -> Comparison:
    gap = difference(kaplan_meier(with_it), kaplan_meier(without_it))
    return Comparison(landmark, conversion_curve(with_it), conversion_curve(without_it), gap)
