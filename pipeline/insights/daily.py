"""Daily series by step and channel, from a table of events: counts of events, and shares of visits
that go on to another step.

A visit is a sequence of a case's events without a pause of more than half an hour. A step *goes on*
to another in a visit with both, in any channel and order, because clocks of devices and servers
differ. The last day of the table counts only if it is complete. Days before a silence of more than
eight weeks are left out: the silence means that nothing was recorded, not that customers did
nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import pyarrow as pa

from pipeline.insights.engines import Queries
from pipeline.insights.events import EventLog
from pipeline.insights.paths import Floats
from pipeline.model.time import DAY_MS, MINUTE_MS

SeriesKind: TypeAlias = Literal["volume", "goes on"]

_DAY_US: Final = DAY_MS * 1_000
_MAX_PAUSE_US: Final = 30 * MINUTE_MS * 1_000
_MAX_STEPS: Final = 40
_MAX_CHANNELS: Final = 12
_MAX_DAYS: Final = 3_650
_MAX_SILENT_DAYS: Final = 56


@dataclass(frozen=True, slots=True, eq=False)
class DailySeries:
    """Series by day: `counts` from `first_day` (days since 1970) on.

    Of a share, `trials` are the visits with `step`, and `counts` those that also have `next_step`.
    `channel` None: all channels.
    """

    kind: SeriesKind
    step: str
    next_step: str | None
    channel: str | None
    first_day: int
    counts: Floats
    trials: Floats | None = None

    @property
    def day_count(self) -> int:
        """Number of days."""
        return len(self.counts)

    @property
    def name(self) -> str:
        """Step, or step and the next one, for display."""
        return self.step if self.next_step is None else f"{self.step} → {self.next_step}"


@dataclass(frozen=True, slots=True)
class DaySpan:
    """Days from `first` (since 1970), `count` of them."""

    first: int
    count: int


def daily_series(log: EventLog, goal: str | None) -> tuple[DailySeries, ...]:
    """Return the volume of every step and channel, and the shares that go on to the step that most
    often comes next and to the `goal`."""
    span = _span(log)
    if span.count <= 0:
        return ()
    queries = log.queries
    _load_steps(queries, span)
    pairs = _pairs(queries, goal)
    channel_series = (*_volumes(queries, span), *_shares(queries, span, pairs))
    return (*channel_series, *_sum_channels(channel_series))


def _span(log: EventLog) -> DaySpan:
    """Return the complete days; the last day is complete if the log ends in its last hour."""
    rows = log.queries.rows(f"SELECT DISTINCT moment // {_DAY_US} AS day FROM events ORDER BY day")
    days = [int(day) for (day,) in rows]
    if not days:
        return DaySpan(0, 0)
    resumptions = (
        next_day for day, next_day in pairwise(days) if next_day - day > _MAX_SILENT_DAYS
    )
    first_day, last_day = max(resumptions, default=days[0]), days[-1]
    end_day = last_day + 1 if log.end % _DAY_US >= _DAY_US * 23 // 24 else last_day
    return DaySpan(first_day, min(max(end_day - first_day, 0), _MAX_DAYS))


def _load_steps(queries: Queries, span: DaySpan) -> None:
    """Load `steps`: each visit's steps by channel and day, with the number of their events; rare
    names and channels are left out."""
    queries.define(
        "steps",
        f"""
        WITH paused AS (
            SELECT case_id, name, channel, moment, line, CASE WHEN moment - (lag(moment) OVER w)
                <= {_MAX_PAUSE_US} THEN 0 ELSE 1 END AS begins
            FROM events WINDOW w AS (PARTITION BY case_id ORDER BY moment, line)
        ), visited AS (
            SELECT case_id, name, channel, moment, sum(begins) OVER (
                PARTITION BY case_id ORDER BY moment, line ROWS UNBOUNDED PRECEDING) AS visit
            FROM paused
        )
        SELECT case_id, visit, name, channel, moment // {_DAY_US} - {span.first} AS day,
            count(*) AS events
        FROM visited
        WHERE moment // {_DAY_US} BETWEEN {span.first} AND {span.first + span.count - 1}
            AND name IN (SELECT name FROM events GROUP BY name
                ORDER BY count(*) DESC, name LIMIT {_MAX_STEPS})
            AND channel IN (SELECT channel FROM events GROUP BY channel
                ORDER BY count(*) DESC, channel LIMIT {_MAX_CHANNELS})
        GROUP BY case_id, visit, name, channel, day
        """,
    )


def _pairs(queries: Queries, goal: str | None) -> list[tuple[str, str]]:
    """Return the pairs of steps whose shares are counted."""
    rows = queries.rows(
        f"""
        WITH followed AS (
            SELECT name, lead(name) OVER w AS later, (lead(moment) OVER w) - moment AS gap
            FROM events WINDOW w AS (PARTITION BY case_id ORDER BY moment, line)
        ), counted AS (
            SELECT name, later, count(*) AS times FROM followed
            WHERE later <> name AND gap <= {_MAX_PAUSE_US} AND name IN (SELECT name FROM steps)
                AND later IN (SELECT name FROM steps)
            GROUP BY name, later
        ), ranked AS (
            SELECT name, later, row_number() OVER (
                PARTITION BY name ORDER BY times DESC, later) AS place
            FROM counted
        )
        SELECT name, later FROM ranked WHERE place = 1 ORDER BY name
        """
    )
    pairs = [(str(name), str(next_name)) for name, next_name in rows]
    if goal is not None:
        pairs += [(name, goal) for name, _ in pairs if name != goal]
    return list(dict.fromkeys(pairs))


def _volumes(queries: Queries, span: DaySpan) -> list[DailySeries]:
    rows = queries.rows(
        "SELECT name, channel, day, sum(events) FROM steps GROUP BY name, channel, day "
        "ORDER BY name, channel, day"
    )
    return [
        DailySeries("volume", name, None, channel, span.first, counts)
        for (name, channel), counts in _series_by_key(rows, span, 2).items()
    ]


def _shares(queries: Queries, span: DaySpan, pairs: Sequence[tuple[str, str]]) -> list[DailySeries]:
    if not pairs:
        return []
    names, next_names = zip(*pairs, strict=True)
    queries.load("ways", pa.table({"name": list(names), "later": list(next_names)}))
    rows = queries.rows(
        """
        WITH reached AS (
            SELECT s.case_id, s.visit, s.name, s.channel, s.day, w.later,
                max(CASE WHEN b.name IS NULL THEN 0 ELSE 1 END) AS hit
            FROM steps AS s JOIN ways AS w ON s.name = w.name
            LEFT JOIN steps AS b
                ON b.case_id = s.case_id AND b.visit = s.visit AND b.name = w.later
            GROUP BY s.case_id, s.visit, s.name, s.channel, s.day, w.later
        )
        SELECT name, later, channel, day, count(*), sum(hit) FROM reached
        GROUP BY name, later, channel, day ORDER BY name, later, channel, day
        """
    )
    trials = _series_by_key([row[:5] for row in rows], span, 3)
    hits = _series_by_key([(*row[:4], row[5]) for row in rows], span, 3)
    return [
        DailySeries("goes on", name, later, channel, span.first, hits[key], trials[key])
        for key in trials
        for name, later, channel in (key,)
    ]


def _sum_channels(series: Sequence[DailySeries]) -> list[DailySeries]:
    """Return the sums over channels of steps with more than one channel."""
    groups: dict[tuple[SeriesKind, str, str | None], list[DailySeries]] = {}
    for daily in series:
        groups.setdefault((daily.kind, daily.step, daily.next_step), []).append(daily)
    return [
        DailySeries(
            kind,
            step,
            next_step,
            None,
            group[0].first_day,
            np.sum([daily.counts for daily in group], axis=0),
            _sum_trials(group),
        )
        for (kind, step, next_step), group in groups.items()
        if len(group) > 1
    ]


def _sum_trials(group: Sequence[DailySeries]) -> Floats | None:
    trials = [daily.trials for daily in group if daily.trials is not None]
    return np.sum(trials, axis=0) if trials else None


def _series_by_key(
    rows: Sequence[Any], span: DaySpan, key_count: int
) -> dict[tuple[str, ...], Floats]:
    """Collect rows of keys, day and number as series by key."""
    counts: dict[tuple[str, ...], Floats] = {}
    for row in rows:
        series = counts.setdefault(tuple(row[:key_count]), np.zeros(max(span.count, 0)))
        series[int(row[key_count])] = float(row[key_count + 1])
    return counts
