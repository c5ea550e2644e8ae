"""Associations with conversion and with drop-off, as odds ratios; an association is not a cause.

A property is observed up to a moment, and the outcome comes after that moment. Only cases
whose window is over at the end of the table count, whether or not they converted.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from pipeline.conditions import duration_ms
from pipeline.insights.defined import DefinedCases
from pipeline.insights.odds import OddsRatio, TwoByTwo, odds_ratios

_MAX_CHANNELS: Final = 20
_MAX_PROPERTIES: Final = 500
_PROPERTIES: Final[tuple[tuple[Literal["event", "channel"], str], ...]] = (
    ("event", "name"),
    ("channel", "channel"),
)


@dataclass(frozen=True, slots=True)
class Association:
    """Property associated with an outcome; `after`: the step after which cases are compared (None:
    the first part of the journey)."""

    outcome: Literal["conversion", "drop-off"]
    after: str | None
    kind: Literal["event", "channel"]
    name: str
    odds: OddsRatio


@dataclass(frozen=True, slots=True)
class _Question:
    """Property and outcome, with the table of their counts."""

    outcome: Literal["conversion", "drop-off"]
    after: str | None
    kind: Literal["event", "channel"]
    name: str
    table: TwoByTwo


def associations(defined_cases: DefinedCases, early_period_us: int) -> list[Association]:
    """Return the associations with conversion and with drop-off, the most significant first.

    `early_period_us`: time from its beginning in which a case's events and channels are properties.
    """
    questions = [
        question
        for question in (
            *_early_questions(defined_cases, early_period_us),
            *_step_questions(defined_cases),
        )
        if question.table.is_informative
    ]
    odds = odds_ratios([question.table for question in questions])
    answers = [
        Association(question.outcome, question.after, question.kind, question.name, ratio)
        for question, ratio in zip(questions, odds, strict=True)
    ]
    return sorted(
        answers, key=lambda answer: (answer.odds.q, -abs(answer.odds.odds_ratio - 1), answer.name)
    )


def _early_questions(defined_cases: DefinedCases, early_period_us: int) -> Iterator[_Question]:
    """Yield the questions about conversion by events and channels of the first part of the journey,
    among cases still under way at its end and followed for the whole window."""
    queries = defined_cases.log.queries
    queries.define(
        "examined",
        f"""
        SELECT case_id, begun, outcome = 'converted' AS converted FROM outcomes
        WHERE begun + {max(_window(defined_cases), early_period_us)} <= {defined_cases.log.end}
            AND (goal_at IS NULL OR goal_at >= begun + {early_period_us})
            AND (left_at IS NULL OR left_at >= begun + {early_period_us})
        """,
    )
    [(case_count, conversion_count)] = queries.rows(
        "SELECT count(*), count(*) FILTER (converted) FROM examined"
    )
    for kind, column in _PROPERTIES:
        rows = queries.rows(
            f"""
            SELECT property, count(*) AS cases, count(*) FILTER (converted)
            FROM (
                SELECT DISTINCT e.case_id, e.{column} AS property, l.converted
                FROM events AS e JOIN examined AS l ON e.case_id = l.case_id
                WHERE e.moment >= l.begun AND e.moment < l.begun + {early_period_us}
            ) WHERE property <> '' GROUP BY property
            ORDER BY cases DESC, property LIMIT {_MAX_PROPERTIES}
            """
        )
        for name, exposed_count, outcome_count in rows:
            table = TwoByTwo(
                exposed_count,
                outcome_count,
                case_count - exposed_count,
                conversion_count - outcome_count,
            )
            yield _Question("conversion", None, kind, name, table)


def _step_questions(defined_cases: DefinedCases) -> Iterator[_Question]:
    """Yield the questions about drop-off after each step by the channel in which it was reached,
    among cases whose window is over."""
    rows = defined_cases.log.queries.rows(
        f"""
        WITH counted AS (
            SELECT step, channels[place + 1] AS channel, count(*) AS cases,
                count(*) FILTER (is_last AND outcome = 'dropped') AS dropped
            FROM outcomes AS o JOIN reached AS r ON o.variant = r.variant
            WHERE begun + {_window(defined_cases)} <= {defined_cases.log.end} GROUP BY ALL
        )
        SELECT step, channel, cases, dropped, sum(cases) OVER (PARTITION BY step)::BIGINT,
            sum(dropped) OVER (PARTITION BY step)::BIGINT
        FROM counted QUALIFY row_number() OVER
            (PARTITION BY step ORDER BY cases DESC, channel) <= {_MAX_CHANNELS}
        ORDER BY step, channel
        """
    )
    for step, channel, case_count, dropped_count, total_count, total_dropped_count in rows:
        if channel:
            table = TwoByTwo(
                case_count,
                dropped_count,
                total_count - case_count,
                total_dropped_count - dropped_count,
            )
            yield _Question(
                "drop-off", defined_cases.plan.steps[step].name, "channel", channel, table
            )


def _window(defined_cases: DefinedCases) -> int:
    """Return the goal's window in µs; 0 without one."""
    goal = defined_cases.journey.goal
    return duration_ms(goal.window) * 1000 if goal and goal.window else 0
