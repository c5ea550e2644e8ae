"""Segments over time, from the topic `segments.changes`: members, entries, exits, and stays."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.insights.campaigns import iso_day
from pipeline.insights.engines import Queries, QueryError
from pipeline.insights.survival import FollowedCases, conversion_curve
from pipeline.insights.tables import TableError
from pipeline.model.time import DAY_MS

CHANGES: Final = "segments.changes"

_WEEK_MS: Final = 7 * DAY_MS
_END_OF_TIME_MS: Final = 253_402_300_799_000
"""Last second of the year 9999."""


@dataclass(frozen=True, slots=True)
class SegmentDay:
    """Entries and exits of a day (ISO 8601), and members at its end."""

    day: str
    entered: int
    exited: int
    members: int


@dataclass(frozen=True, slots=True)
class SegmentMoves:
    """Moves of a segment; `members`: at the end of the log; `entered_last_week`,
    `exited_last_week`: in the log's last seven days; `median_stay_ms`: time by which half of the
    members have left (Kaplan-Meier; None: fewer have left)."""

    segment: str
    customers: int
    members: int
    entered: int
    exited: int
    entered_last_week: int
    exited_last_week: int
    median_stay_ms: int | None
    days: tuple[SegmentDay, ...]


def segment_moves(queries: Queries, folder: Path, until_ms: int | None) -> tuple[SegmentMoves, ...]:
    """Return the moves of every segment in FOLDER/segments.changes, by name. Raises TableError.

    The log ends with its last change, or at `until_ms` (exclusive). A repeated change counts once;
    an entry of a member, or an exit of a customer who is not a member, does not count."""
    view = queries.open_topic(folder, CHANGES, ("profile_id", "segment", "change", "at"))
    try:
        last_move_ms = _load(queries, view, _END_OF_TIME_MS if until_ms is None else until_ms)
        end_ms = last_move_ms if until_ms is None else until_ms
        stays = _stays(queries, end_ms)
        days = _days(queries)
        rows = queries.rows(
            f"""
            SELECT segment, count(DISTINCT customer),
                sum(CASE WHEN entered THEN 1 ELSE 0 END)::BIGINT,
                sum(CASE WHEN entered THEN 0 ELSE 1 END)::BIGINT,
                sum(CASE WHEN entered AND at_ms > {end_ms - _WEEK_MS} THEN 1 ELSE 0 END)::BIGINT,
                sum(CASE WHEN NOT entered AND at_ms > {end_ms - _WEEK_MS} THEN 1 ELSE 0 END)::BIGINT
            FROM moves GROUP BY segment ORDER BY segment
            """
        )
    except QueryError as error:
        raise TableError(f"{folder}: cannot be read: {error}") from error
    return tuple(
        SegmentMoves(
            segment=segment,
            customers=customers,
            members=entries - exits,
            entered=entries,
            exited=exits,
            entered_last_week=recent_entries,
            exited_last_week=recent_exits,
            median_stay_ms=conversion_curve(stays[segment]).quartiles_ms[1],
            days=tuple(days[segment]),
        )
        for segment, customers, entries, exits, recent_entries, recent_exits in rows
    )


def _load(queries: Queries, view: str, end_ms: int) -> int:
    """Load `moves`, the alternating entries and exits of each customer; return the time of the last
    move, 0 without any."""
    queries.define(
        "moves",
        f"""
        WITH changes AS (
            SELECT profile_id AS customer, segment, change = 'entered' AS entered,
                epoch_ms("at") AS at_ms, min(kafka_partition) AS part, min(kafka_offset) AS place
            FROM {view} WHERE kafka_error IS NULL AND profile_id IS NOT NULL
            GROUP BY ALL
        ), ordered AS (
            SELECT *, lag(entered) OVER (
                PARTITION BY customer, segment ORDER BY at_ms, part, place) AS was_member
            FROM changes WHERE at_ms < {end_ms}
        )
        SELECT customer, segment, entered, at_ms, part, place FROM ordered
        WHERE coalesce(was_member, FALSE) <> entered
        """,
    )
    rows = queries.rows("SELECT coalesce(max(at_ms), 0) FROM moves")
    return int(rows[0][0])


def _stays(queries: Queries, end_ms: int) -> defaultdict[str, list[FollowedCases]]:
    rows = queries.rows(
        f"""
        SELECT segment, coalesce(exited_at_ms, {end_ms}) - at_ms AS duration,
            exited_at_ms IS NOT NULL, count(*)
        FROM (
            SELECT segment, entered, at_ms, lead(at_ms) OVER (
                PARTITION BY customer, segment ORDER BY at_ms, part, place) AS exited_at_ms
            FROM moves
        ) WHERE entered GROUP BY ALL ORDER BY ALL
        """
    )
    stays: defaultdict[str, list[FollowedCases]] = defaultdict(list)
    for segment, *stay in rows:
        stays[segment].append(FollowedCases(*stay))
    return stays


def _days(queries: Queries) -> defaultdict[str, list[SegmentDay]]:
    rows = queries.rows(
        f"""
        SELECT segment, at_ms // {DAY_MS} AS day,
            sum(CASE WHEN entered THEN 1 ELSE 0 END)::BIGINT,
            sum(CASE WHEN entered THEN 0 ELSE 1 END)::BIGINT
        FROM moves GROUP BY segment, day ORDER BY segment, day
        """
    )
    days: defaultdict[str, list[SegmentDay]] = defaultdict(list)
    for segment, day, entries, exits in rows:
        members = days[segment][-1].members if days[segment] else 0
        days[segment].append(SegmentDay(iso_day(day), entries, exits, members + entries - exits))
    return days
