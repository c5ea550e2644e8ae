"""Associations with conversion and with drop-off: odds ratios, and no causes.

A property is known at a moment, the outcome comes after that moment. Only cases count whose window
is over at the end of the table, converted or not.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from pipeline.conditions import duration_ms
from pipeline.insights.defined import DefinedCases
from pipeline.insights.odds import OddsRatio, TwoByTwo, odds_ratios

_MOST_CHANNELS: Final = 20
_MOST_PROPERTIES: Final = 500
_PROPERTIES: Final[tuple[tuple[Literal["event", "channel"], str], ...]] = (
    ("event", "name"),
    ("channel", "channel"),
)


@dataclass(frozen=True, slots=True)
class Association:
    """Property associated with an outcome; `after`: the step at which cases are examined (None:
    early in the journey)."""

    outcome: Literal["conversion", "drop-off"]
    after: str | None
    kind: Literal["event", "channel"]
    name: str
    odds: OddsRatio


@dataclass(frozen=True, slots=True)
class _Question:
    """Property and an outcome whose table is counted."""

    outcome: Literal["conversion", "drop-off"]
    after: str | None
    kind: Literal["event", "channel"]
    name: str
    table: TwoByTwo


def associations(cases: DefinedCases, early: int) -> list[Association]:
    """Return the associations with conversion and with drop-off, the most significant first.

    `early`: time (µs) from its beginning in which a case is examined.
    """
    questions = [
        question
        for question in (*_early_questions(cases, early), *_step_questions(cases))
        if question.table.informative
    ]
    odds = odds_ratios([question.table for question in questions])
    answers = [
        Association(question.outcome, question.after, question.kind, question.name, ratio)
        for question, ratio in zip(questions, odds, strict=True)
    ]
    return sorted(
        answers, key=lambda answer: (answer.odds.q, -abs(answer.odds.odds_ratio - 1), answer.name)
    )


def _early_questions(defined: DefinedCases, early: int) -> Iterator[_Question]:
    """Yield the questions about conversion: by events and channels of the early part, among cases
    still under way at its end and followed for the whole window."""
    queries = defined.log.queries
    queries.define(
        "examined",
        f"""
        SELECT case_id, begun, outcome = 'converted' AS converted FROM outcomes
        WHERE begun + {max(_window(defined), early)} <= {defined.log.end}
            AND (goal_at IS NULL OR goal_at >= begun + {early})
            AND (left_at IS NULL OR left_at >= begun + {early})
        """,
    )
    cases, converted = queries.rows("SELECT count(*), count(*) FILTER (converted) FROM examined")[0]
    for kind, column in _PROPERTIES:
        rows = queries.rows(
            f"""
            SELECT property, count(*) AS cases, count(*) FILTER (converted)
            FROM (
                SELECT DISTINCT e.case_id, e.{column} AS property, l.converted
                FROM events AS e JOIN examined AS l ON e.case_id = l.case_id
                WHERE e.moment >= l.begun AND e.moment < l.begun + {early}
            ) WHERE property <> '' GROUP BY property
            ORDER BY cases DESC, property LIMIT {_MOST_PROPERTIES}
            """
        )
        for name, exposed, outcomes in rows:
            table = TwoByTwo(exposed, outcomes, cases - exposed, converted - outcomes)
            yield _Question("conversion", None, kind, name, table)


def _step_questions(defined: DefinedCases) -> Iterator[_Question]:
    """Yield the questions about drop-off after each step, by the channel in which it was reached,
    among cases whose window is over."""
    rows = defined.log.queries.rows(
        f"""
        WITH counted AS (
            SELECT step, channels[place + 1] AS channel, count(*) AS cases,
                count(*) FILTER (is_last AND outcome = 'dropped') AS dropped
            FROM outcomes AS o JOIN reached AS r ON o.variant = r.variant
            WHERE begun + {_window(defined)} <= {defined.log.end} GROUP BY ALL
        )
        SELECT step, channel, cases, dropped, sum(cases) OVER (PARTITION BY step)::BIGINT,
            sum(dropped) OVER (PARTITION BY step)::BIGINT
        FROM counted QUALIFY row_number() OVER
            (PARTITION BY step ORDER BY cases DESC, channel) <= {_MOST_CHANNELS}
        ORDER BY step, channel
        """
    )
    for step, channel, cases, dropped, all_cases, every_dropped in rows:
        if channel:
            table = TwoByTwo(cases, dropped, all_cases - cases, every_dropped - dropped)
            yield _Question("drop-off", defined.plan.steps[step].name, "channel", channel, table)


def _window(cases: DefinedCases) -> int:
    goal = cases.journey.goal
    return duration_ms(goal.window) * 1000 if goal and goal.window else 0
