"""Table of events: case_id, occurred_at, name, and optionally channel, event_id, and the arm to
which the case is assigned.

Events of a case are ordered by time; at equal times, as in the table.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.insights.engines import Queries
from pipeline.insights.tables import Column

_COLUMNS: Final = (
    Column("case_id", "text"),
    Column("occurred_at", "time"),
    Column("name", "text"),
    Column("channel", "text", required=False, blank=True),
    Column("event_id", "text", required=False, blank=True),
    Column("arm", "text", required=False, blank=True),
)


@dataclass(frozen=True, slots=True)
class EventOptions:
    """Options of reading events. `until_ms`: the end of the table, inclusive (None: its latest
    event); later events are left out; `zone`: the time zone of times without one."""

    until_ms: int | None = None
    zone: str | None = None


@dataclass(frozen=True, slots=True)
class EventLog:
    """View `events` (case_id, moment in µs, name, channel, arm, line) of an engine.

    `end`: its end in µs; `repeated_rows`: rows left out because an earlier row has their event_id.
    """

    queries: Queries
    file: Path
    rows: int
    repeated_rows: int
    end: int


def read_events(queries: Queries, file: Path, options: EventOptions) -> EventLog:
    """Check a table of events and load it. Raises TableError."""
    queries.open_table(file, _COLUMNS, options.zone)
    time_condition = "TRUE" if options.until_ms is None else f"moment <= {options.until_ms * 1000}"
    queries.define(
        "loaded",
        f"""
        SELECT * FROM (
            SELECT case_id, occurred_at AS moment, name, coalesce(channel, '') AS channel,
                event_id, arm, row AS line
            FROM checked
        ) WHERE {time_condition}
        """,
    )
    queries.define_view(
        "events",
        """
        SELECT case_id, moment, name, channel, arm, line FROM loaded WHERE event_id IS NULL
        UNION ALL
        SELECT arg_min(case_id, line), arg_min(moment, line), arg_min(name, line),
            arg_min(channel, line), arg_min(arm, line) FILTER (arm IS NOT NULL), min(line)
        FROM loaded WHERE event_id IS NOT NULL GROUP BY event_id
        """,
    )
    [(rows, repeated_rows, latest_moment)] = queries.rows(
        "SELECT count(*), count(event_id) - count(DISTINCT event_id), max(moment) FROM loaded"
    )
    end = (latest_moment or 0) if options.until_ms is None else options.until_ms * 1000
    return EventLog(queries, file, rows - repeated_rows, repeated_rows, end)
