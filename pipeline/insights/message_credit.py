"""Credit of messages for a goal, from replayed topics, and the lift that holdouts measured.

A touch is a message that was sent (decided, and neither expired nor bounced), seen (at its first
reported impression or click) or clicked (at its first reported click).
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from pipeline.insights.campaigns import Lift
from pipeline.insights.engines import Queries
from pipeline.insights.tables import TableError, sql_text
from pipeline.insights.touches import Journeys, TouchKind, TouchOptions, Unit

_OUTCOMES: Final = {"seen": ("impression", "click"), "clicked": ("click",)}
_UNITS: Final[tuple[Unit, ...]] = ("channel", "campaign", "message")


@dataclass(frozen=True, slots=True)
class CreditCounts:
    """Numbers of touches and of goals reached."""

    touches: int
    goals: int


def load_touches(queries: Queries, goal: str | None, kind: TouchKind) -> CreditCounts:
    """Load `checked`, touches and goals with the columns of a table of touches, from the loaded
    facts."""
    queries.define(
        "checked",
        f"""
        SELECT m.customer AS profile_id, t.at_ms * 1000 AS occurred_at, m.channel AS channel,
            m.campaign AS campaign, m.treatment AS message, 'touch' AS kind, 0.0 AS value,
            '{kind}' AS touch
        FROM messages AS m JOIN ({_touch_times(kind)}) AS t ON m.action_id = t.action_id
        UNION ALL
        SELECT customer, at_ms * 1000, NULL, NULL, NULL, 'conversion', value, NULL FROM happened
        WHERE name = {sql_text(goal)}
        """,
    )
    [counts] = queries.rows(
        "SELECT count(*) FILTER (kind = 'touch'), count(*) FILTER (kind <> 'touch') FROM checked"
    )
    return CreditCounts(*counts)


def _touch_times(kind: TouchKind) -> str:
    """Return SQL for the time at which each message became a touch of this kind."""
    if kind == "sent":
        return """
            SELECT m.action_id, m.at_ms FROM messages AS m
            LEFT JOIN reported AS r ON m.action_id = r.action_id
            WHERE m.action_id IS NOT NULL AND coalesce(r.expired, 0) + coalesce(r.bounce, 0) = 0
            """
    names = ", ".join(sql_text(name) for name in _OUTCOMES[kind])
    return f"""
        SELECT properties ->> '$.action_id' AS action_id, min(at_ms) AS at_ms FROM received
        WHERE kind = 'outcome' AND name IN ({names}) GROUP BY action_id
        """


def message_journeys(queries: Queries, folder: Path, options: TouchOptions) -> Journeys:
    """Make journeys of `checked`. Raises TableError for a unit that messages do not have."""
    if options.unit not in _UNITS:
        raise TableError(f"--unit {options.unit}: messages have {', '.join(_UNITS)}")
    return Journeys(queries, folder, replace(options, touch=None), has_ids=False)


def lifts_of_unit(lifts: tuple[Lift, ...], unit: Unit) -> tuple[Lift, ...]:
    """Return the lifts by the holdouts of all campaigns together and, for the unit `campaign`, of
    each campaign; for other units, of each campaign's offers by channel."""
    return tuple(
        lift
        for lift in lifts
        if lift.campaign is None
        or (lift.offer is None if unit == "campaign" else lift.channel is not None)
    )
