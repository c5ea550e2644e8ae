"""Details of a defined journey: deviations, flows, time to convert, plan against actual path, and
associations with conversion and drop-off.

Results are observed associations. Comparisons are by landmark: groups are formed by what is known
at a moment, among cases still under way then, and compared by their outcomes after that moment.
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
    BoundedEstimate,
    ConversionCurve,
    FollowedCases,
    conversion_curve,
    difference,
    kaplan_meier,
)
from pipeline.journeys.plan import JourneyPlan

_DAY_US: Final = 86_400_000_000
_MAX_CHANNELS: Final = 20
HOLDOUT: Final = "holdout"
OTHER_CHANNELS: Final = "(other channels)"
NO_CHANNEL: Final = "(no channel)"


@dataclass(frozen=True, slots=True)
class StepDetails:
    """Figures of a step. `dropped`, `unfinished`: cases whose last step it is, by outcome; `late`:
    cases that reached it after its time limit; `median_ms`: from the case's beginning, over cases
    that reached it. `skipped`, `repeated`, `swapped`: cases that deviate from the plan at it."""

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
    """Cases that began in a channel and reached a step; `dropped`: cases that dropped off after
    it."""

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
    """Two groups from a landmark on; `more`: the converted share `with_it`, less that
    `without_it`."""

    landmark: str
    with_it: ConversionCurve
    without_it: ConversionCurve
    more: BoundedEstimate | None


@dataclass(frozen=True, slots=True)
class ArmComparison:
    """Arm, as the table assigns it, compared with the arm `reference`."""

    arm: str
    reference: str
    compared: Comparison


@dataclass(frozen=True, slots=True)
class JourneyDetails:
    """Details of a journey; `early_ms`: time from a case's beginning whose events and channels are
    the properties of `associations`."""

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


def journey_details(defined_cases: DefinedCases, early_ms: int | None = None) -> JourneyDetails:
    """Return the details; `early_ms` None: a tenth of the goal's window, or a day without one."""
    early_us = _default_early_us(defined_cases) if early_ms is None else early_ms * 1000
    _load_progress(defined_cases)
    outcomes: Counter[CaseOutcome] = Counter()
    for variant in defined_cases.variants:
        outcomes.update(variant.outcomes)
    curves = _curves(defined_cases)
    all_groups = [row for group in curves.values() for row in group]
    return JourneyDetails(
        {kind: outcomes[kind] for kind in ("converted", "dropped", "unfinished")},
        defined_cases.log.repeated_rows,
        tuple(_steps(defined_cases)),
        tuple(_channel_steps(defined_cases)),
        tuple(_flows(defined_cases)),
        conversion_curve(all_groups),
        tuple(ChannelCurve(name, conversion_curve(group)) for name, group in curves.items()),
        _followed_plan(defined_cases),
        tuple(_arms(defined_cases)),
        early_us // 1000,
        tuple(associations(defined_cases, early_us)),
    )


def _default_early_us(cases: DefinedCases) -> int:
    """Return a tenth of the goal's window, or a day without one, in µs."""
    goal = cases.journey.goal
    return duration_ms(goal.window) * 100 if goal and goal.window else _DAY_US


def _load_progress(defined_cases: DefinedCases) -> None:
    """Load `reached`, each variant's steps, with their places and the place of the mandatory step
    before (-1: none), and `channelled`, the outcomes with the channel in which a case began."""
    rows = [
        (variant, step, place, gate, rank == len(variant_cases.progress.reached_steps) - 1)
        for variant, variant_cases in enumerate(defined_cases.variants)
        for rank, (step, place, gate) in enumerate(
            _gate_steps(defined_cases.plan, variant_cases.progress.reached_steps)
        )
    ]
    columns = list(zip(*rows, strict=True)) or [()] * 5
    types = (pa.int64(), pa.int32(), pa.int64(), pa.int64(), pa.bool_())
    names = ("variant", "step", "place", "gate", "is_last")
    arrays = [pa.array(column, kind) for column, kind in zip(columns, types, strict=True)]
    queries = defined_cases.log.queries
    queries.load("reached", pa.table(dict(zip(names, arrays, strict=True))))
    queries.define_view(
        "channelled",
        f"""
        WITH counted AS (
            SELECT channel AS known FROM outcomes GROUP BY channel
            ORDER BY count(*) DESC, channel LIMIT {_MAX_CHANNELS}
        )
        SELECT o.*, CASE WHEN known IS NULL THEN '{OTHER_CHANNELS}'
            WHEN known = '' THEN '{NO_CHANNEL}' ELSE known END AS began_in
        FROM outcomes AS o LEFT JOIN counted ON o.channel = known
        """,
    )


def _gate_steps(
    plan: JourneyPlan, reached_steps: tuple[tuple[int, int], ...]
) -> Iterator[tuple[int, int, int]]:
    """Yield each step reached with its place, and with the place of the last mandatory step of the
    stages before (-1: none)."""
    gate = latest_place = -1
    stage = 0
    for step, place in reached_steps:
        if plan.steps[step].stage != stage:
            stage, gate = plan.steps[step].stage, latest_place
        if plan.steps[step].mandatory:
            latest_place = max(latest_place, place)
        yield step, place, gate


def _steps(defined_cases: DefinedCases) -> Iterator[StepDetails]:
    step_counts: dict[str, Counter[int]] = defaultdict(Counter)
    for variant in defined_cases.variants:
        last_step = variant.progress.reached_steps[-1][0] if variant.progress.reached_steps else -1
        alignment = variant.alignment
        for number in alignment.skipped_steps:
            step_counts["skipped"][number] += variant.cases
        for number in alignment.repeated_steps:
            step_counts["repeated"][number] += variant.cases
        for number in alignment.swapped_steps:
            step_counts["swapped"][number] += variant.cases
        for outcome, cases in variant.outcomes.items():
            step_counts[outcome][last_step] += cases
    step_times = _step_times(defined_cases)
    for number, step in enumerate(defined_cases.plan.steps):
        cases, late_cases, median = step_times.get(number, (0, 0, None))
        counts = {kind: case_counts[number] for kind, case_counts in step_counts.items()}
        yield StepDetails(
            step.name,
            step.mandatory,
            cases,
            counts.get("dropped", 0),
            counts.get("unfinished", 0),
            late_cases,
            median,
            counts.get("skipped", 0),
            counts.get("repeated", 0),
            counts.get("swapped", 0),
        )


def _step_times(defined_cases: DefinedCases) -> dict[int, tuple[int, int, float]]:
    limits = [step.time_limit_ms for step in defined_cases.plan.steps]
    defined_cases.log.queries.load(
        "limits",
        pa.table(
            {
                "step": pa.array(range(len(limits)), pa.int32()),
                "within": pa.array(limits, pa.int64()),
            }
        ),
    )
    rows = defined_cases.log.queries.rows(
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
    return {step: (cases, late_cases, median) for step, cases, late_cases, median in rows}


def _channel_steps(defined_cases: DefinedCases) -> Iterator[ChannelStep]:
    rows = defined_cases.log.queries.rows(
        """
        SELECT began_in, step, count(*), count(*) FILTER (is_last AND outcome = 'dropped')
        FROM channelled AS o JOIN reached AS r ON o.variant = r.variant
        GROUP BY began_in, step ORDER BY began_in, step
        """
    )
    for channel, step, cases, drop_offs in rows:
        yield ChannelStep(channel, defined_cases.plan.steps[step].name, cases, drop_offs)


def _flows(defined_cases: DefinedCases) -> Iterator[StepFlow]:
    """Yield every edge of the Sankey diagram; the cases into a step, and out of it, are as many as
    reached it in the funnel."""
    flows: Counter[tuple[int, int, CaseOutcome | None]] = Counter()
    for variant in defined_cases.variants:
        last_step = -1
        for step, _ in variant.progress.reached_steps:
            flows[last_step, step, None] += variant.cases
            last_step = step
        for outcome, cases in variant.outcomes.items():
            flows[last_step, -1, outcome] += cases
    names = (*(step.name for step in defined_cases.plan.steps), None)  # of step -1: none
    for (after, to, end), cases in sorted(
        flows.items(), key=lambda flow: (-flow[1], flow[0][:2], str(flow[0][2]))
    ):
        yield StepFlow(names[after], names[to], end, cases)


def _curves(cases: DefinedCases) -> dict[str, list[FollowedCases]]:
    """Return the cases of each channel by the time for which they were followed; a case that left
    by an exit cannot convert any more, and is followed until the window closes."""
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


def _duration(start: str) -> str:
    """Return SQL for the time in ms for which a case was followed from a moment on."""
    end = "CASE WHEN outcome = 'converted' THEN goal_at ELSE closes END"
    return f"greatest({end} - {start}, 0) // 1000"


def _followed_plan(cases: DefinedCases) -> Comparison | None:
    """Compare the cases that had kept to the plan and to the step's time limit with the others,
    from the first mandatory step on (without one, from the first step on); None without cases."""
    steps = cases.plan.steps
    first_step = next((number for number, step in enumerate(steps) if step.mandatory), 0)
    places = [dict(variant.progress.reached_steps).get(first_step) for variant in cases.variants]
    are_in_plan_order = [
        place is not None and _is_in_plan_order(cases.plan, variant.path[: place + 1])
        for variant, place in zip(cases.variants, places, strict=True)
    ]
    variants = pa.array(range(len(places)), pa.int64())
    table = {
        "variant": variants,
        "place": pa.array(places, pa.int64()),
        "kept": pa.array(are_in_plan_order),
    }
    if not places:
        return None
    cases.log.queries.load("landmarks", pa.table(table))
    limit_ms = steps[first_step].time_limit_ms
    in_time = "TRUE" if limit_ms is None else f"reached_at - begun < {limit_ms * 1000}"
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
    landmark = f"the step {steps[first_step].name} was reached"
    return _comparison(landmark, groups[True], groups[False])


def _is_in_plan_order(plan: JourneyPlan, path: tuple[int, ...]) -> bool:
    """Return whether a path up to the first mandatory step has each step once and in order."""
    stages = [plan.steps[step].stage for step in path]
    return stages == sorted(stages) and len(set(path)) == len(path)


def _arms(cases: DefinedCases) -> Iterator[ArmComparison]:
    """Compare each arm with the holdout, or without one with the first arm by name, from the case's
    beginning on."""
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
    for arm, groups in arms.items():
        if reference is not None and arm != reference:
            comparison = _comparison("the case began", groups, arms[reference])
            yield ArmComparison(arm, reference, comparison)


def _comparison(
    landmark: str, with_it: Sequence[FollowedCases], without_it: Sequence[FollowedCases]
) -> Comparison:
    gap = difference(kaplan_meier(with_it), kaplan_meier(without_it))
    return Comparison(landmark, conversion_curve(with_it), conversion_curve(without_it), gap)
