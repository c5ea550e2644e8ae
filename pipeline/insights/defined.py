"""Cases of a table of events compared with a defined journey, in SQL that ends in counts of
distinct paths.

A case begins with its first event that enters the journey, or else with its first event. It
converts by an event that fits the goal, within the window from its beginning and not after an exit;
without a goal, by its last mandatory step. A case is unfinished, and may still convert, if it has
neither converted nor left by an exit, and if its window is not over when the table ends. All other
cases are dropped.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import pyarrow as pa

from pipeline.conditions import Condition, Facts, compile, did_you_mean, duration_ms, parse
from pipeline.conditions.compile import Test
from pipeline.conditions.reads import possible_names, reads
from pipeline.config.model.journeys import Journey
from pipeline.insights.events import EventLog
from pipeline.insights.tables import TableError
from pipeline.journeys.alignment import Alignment, align
from pipeline.journeys.plan import JourneyPlan, PlanProgress, follow_path
from pipeline.model.interaction import Interaction

CaseOutcome: TypeAlias = Literal["converted", "dropped", "unfinished"]

MAX_CASE_STEPS: Final = 100_000
"""Most steps of one case; more suggest that `case_id` is not the column of cases."""

_TABLE_FACTS: Final = frozenset(("name", "channel"))


@dataclass(frozen=True, slots=True)
class VariantCases:
    """Distinct path, as numbers of its steps, with its cases by outcome."""

    path: tuple[int, ...]
    cases: int
    outcomes: Mapping[CaseOutcome, int]
    alignment: Alignment
    progress: PlanProgress


@dataclass(frozen=True, slots=True)
class DefinedCases:
    """Cases of a log, followed through a journey.

    The temporary table `outcomes` has a row per case: variant, begun, arm (the first in the table,
    if any), channel (of its first event), times and channels (of its path), goal_at, left_at,
    closes (end of its follow-up), outcome; times in µs. `unseen`: a sentence for each step without
    any event, with similar names in the table.
    """

    log: EventLog
    journey: Journey
    plan: JourneyPlan
    variants: tuple[VariantCases, ...]
    unseen: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Rules:
    """Tests of an event: for each step, in the order of the plan, and for the journey."""

    steps: tuple[Test, ...]
    goal: Test | None
    enter: Test | None
    exits: tuple[Test, ...]


def follow_cases(log: EventLog, journey: Journey, file: Path) -> DefinedCases:
    """Follow every case of the table through the journey that `file` defines. Raises TableError."""
    plan = JourneyPlan.build(journey)
    unseen = _load_marks(log, journey, plan, file)
    _load_cases(log)
    paths = _load_variants(log)
    progresses = [follow_path(plan, path) for path, _ in paths]
    _load_outcomes(log, journey, progresses)
    outcome_counts: dict[int, dict[CaseOutcome, int]] = dict(
        log.queries.rows(
            """
            SELECT variant, map_from_entries(list((outcome, cases)))
            FROM (SELECT variant, outcome, count(*) AS cases FROM outcomes GROUP BY ALL)
            GROUP BY variant
            """
        )
    )
    variants = tuple(
        VariantCases(path, cases, outcome_counts[number], align(plan, path), progresses[number])
        for number, (path, cases) in enumerate(paths)
    )
    return DefinedCases(log, journey, plan, variants, unseen)


def _load_marks(log: EventLog, journey: Journey, plan: JourneyPlan, file: Path) -> tuple[str, ...]:
    """Load `marks`, the meaning of each event name and channel for the journey; return a sentence
    for each step without any event."""
    rules = _rules(journey, file)
    pairs = log.queries.rows("SELECT DISTINCT name, channel FROM events")
    marks = [mark for name, channel in pairs if (mark := _mark(name, channel, rules, plan, file))]
    columns = {
        "name": pa.array([mark["name"] for mark in marks], pa.string()),
        "channel": pa.array([mark["channel"] for mark in marks], pa.string()),
        "step": pa.array([mark["step"] for mark in marks], pa.int32()),
        **{
            role: pa.array([mark[role] for mark in marks], pa.bool_())
            for role in ("goal", "enters", "leaves")
        },
    }
    log.queries.load("marks", pa.table(columns))
    reached_steps = {mark["step"] for mark in marks}
    names = {name for name, _ in pairs}
    unreached_conditions = [
        condition
        for number, condition in enumerate(_conditions(journey))
        if number not in reached_steps
    ]
    return tuple(_unreached_step_words(step, tree, names) for step, tree in unreached_conditions)


def _unreached_step_words(step: str, tree: Condition, names: set[str]) -> str:
    event_names = sorted(possible_names(tree) or ())
    hint = f" ({event_names[0]!r}: {did_you_mean(event_names[0], names)})" if event_names else ""
    return f"no event reaches the step {step!r}{hint}"


def _rules(journey: Journey, file: Path) -> _Rules:
    steps = _conditions(journey)
    return _Rules(
        tuple(_test(tree, f"the step {name!r}", file) for name, tree in steps),
        _test(_tree(journey.goal.when), "the goal", file) if journey.goal else None,
        _test(_tree(journey.enter.when), "enter", file) if journey.enter else None,
        tuple(_test(_tree(raw), "exit", file) for raw in journey.exit),
    )


def _conditions(journey: Journey) -> list[tuple[str, Condition]]:
    return [(step.step, _tree(step.reached)) for stage in journey.steps for step in stage.steps()]


def _tree(raw: dict[str, object]) -> Condition:
    tree = parse(raw)
    assert not isinstance(tree, tuple), tree
    return tree


def _test(tree: Condition, subject: str, file: Path) -> Test:
    facts = reads(tree)
    missing_facts = [
        *(f"property {name}" for name in facts.properties),
        *(f"context {name}" for name in facts.context_fields),
        *(f"derived {name}" for name in facts.derived_names),
        *(f"trait {name}" for name in facts.traits),
        *(f"segment {name}" for name in facts.segments | facts.entered_segments),
        *facts.event_fields - _TABLE_FACTS,
    ]
    if missing_facts:
        raise TableError(
            f"{file}: {subject} reads {min(missing_facts)}, "
            "and a table of events has name and channel only"
        )
    return compile(tree).test


def _mark(
    name: str, channel: str, rules: _Rules, plan: JourneyPlan, file: Path
) -> dict[str, Any] | None:
    facts = Facts.of(Interaction("", "track", name, channel, "", 0, 0, ()))
    steps = [number for number, test in enumerate(rules.steps) if test(facts)]
    if len(steps) > 1:
        first_step, other_step = (plan.steps[number].name for number in steps[:2])
        raise TableError(
            f"{file}: an event {name!r} in the channel {channel!r} reaches the steps "
            f"{first_step!r} and {other_step!r}: let each step be reached by events of its own"
        )
    mark = {
        "name": name,
        "channel": channel,
        "step": steps[0] if steps else None,
        "goal": rules.goal is not None and rules.goal(facts),
        "enters": rules.enter is not None and rules.enter(facts),
        "leaves": any(test(facts) for test in rules.exits),
    }
    return mark if steps or mark["goal"] or mark["enters"] or mark["leaves"] else None


def _load_cases(log: EventLog) -> None:
    log.queries.define(
        "cases",
        """
        SELECT case_id, coalesce(min(moment) FILTER (enters), min(moment)) AS begun,
            arg_min(arm, line) FILTER (arm IS NOT NULL) AS arm,
            arg_min(channel, (moment, line)) AS channel,
            coalesce(list(step ORDER BY moment, line) FILTER (step IS NOT NULL), []) AS path,
            coalesce(list(moment ORDER BY moment, line) FILTER (step IS NOT NULL), []) AS times,
            coalesce(list(channel ORDER BY moment, line) FILTER (step IS NOT NULL), []) AS channels,
            coalesce(list(moment ORDER BY moment) FILTER (goal), []) AS goals,
            coalesce(list(moment ORDER BY moment) FILTER (leaves), []) AS exits
        FROM events LEFT JOIN marks USING (name, channel) GROUP BY case_id
        """,
    )


def _load_variants(log: EventLog) -> list[tuple[tuple[int, ...], int]]:
    """Load `variants`, the distinct paths by number; return them with their numbers of cases, the
    most frequent first."""
    longest_cases = log.queries.rows(
        "SELECT case_id, len(path) AS steps FROM cases ORDER BY steps DESC, case_id LIMIT 1"
    )
    for case, steps in longest_cases:
        if steps > MAX_CASE_STEPS:
            raise TableError(
                f"{log.file}: the case {case!r} has {steps:,} steps, at most {MAX_CASE_STEPS:,} "
                "are possible: is case_id the right column?"
            )
    log.queries.define(
        "variants",
        """
        SELECT row_number() OVER (ORDER BY cases DESC, path) - 1 AS variant, path, cases
        FROM (SELECT path, count(*) AS cases FROM cases GROUP BY path)
        """,
    )
    rows = log.queries.rows("SELECT path, cases FROM variants ORDER BY variant")
    return [(tuple(path), cases) for path, cases in rows]


def _load_outcomes(log: EventLog, journey: Journey, progresses: list[PlanProgress]) -> None:
    """Load `outcomes`: the outcome of each case, with its times."""
    places = [case_progress.completion_place for case_progress in progresses]
    log.queries.load(
        "completions",
        pa.table(
            {
                "variant": pa.array(range(len(places)), pa.int64()),
                "place": pa.array(places, pa.int64()),
            }
        ),
    )
    first_goal = "list_min(list_filter(goals, lambda moment: moment >= begun))"
    goal = first_goal if journey.goal else "CASE WHEN place IS NOT NULL THEN times[place + 1] END"
    limit = journey.goal.window if journey.goal else None
    window = None if limit is None else duration_ms(limit) * 1000
    in_time = "TRUE" if window is None else f"goal_at - begun < {window}"
    is_open = "FALSE" if window is None else f"{log.end} - begun < {window}"
    closes = log.end if window is None else f"least(begun + {window}, {log.end})"
    log.queries.define(
        "outcomes",
        f"""
        SELECT *, {closes} AS closes,
            CASE WHEN goal_at IS NOT NULL AND {in_time}
                    AND (left_at IS NULL OR goal_at <= left_at) THEN 'converted'
                WHEN left_at IS NULL AND {is_open} THEN 'unfinished'
                ELSE 'dropped' END AS outcome
        FROM (
            SELECT c.case_id, v.variant, c.begun, c.arm, c.channel, c.times, c.channels,
                {goal} AS goal_at,
                list_min(list_filter(exits, lambda moment: moment >= begun)) AS left_at
            FROM cases AS c JOIN variants AS v ON c.path = v.path
            JOIN completions AS d ON v.variant = d.variant
        )
        """,
    )


def step_names(plan: JourneyPlan, numbers: Iterator[int] | tuple[int, ...]) -> tuple[str, ...]:
    """Return the names of steps."""
    return tuple(plan.steps[number].name for number in numbers)
