"""Discovery of paths without a plan, and of the tree of their beginnings with the outcomes of each
branch.

A journey begins with the first event of a case, with the first one after a gap, and with the first
one after a goal. It ends with the goal. Events after its window that begin no other journey are
left out.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Final

from pipeline.insights.events import EventLog
from pipeline.insights.survival import ConversionCurve, FollowedCases, conversion_curve
from pipeline.insights.tables import sql_text

_MAX_NODES: Final = 200


@dataclass(frozen=True, slots=True)
class DiscoveryOptions:
    """Options of discovery. `goal`: the name of the goal event (None: there is none); `window_ms`:
    time from its beginning in which a journey is followed; `gap_ms`: a longer pause ends a journey
    (0: no pause does); `steps`: most events of a path; `nodes`: most nodes and paths returned."""

    goal: str | None = None
    window_ms: int = 30 * 86_400_000
    gap_ms: int = 0
    steps: int = 5
    nodes: int = _MAX_NODES


@dataclass(frozen=True, slots=True)
class PathNode:
    """Journeys that begin with `path`.

    `cases` = cases of its children in the tree + `cut` (cases of its children that are not in the
    tree) + `longer` (cases that go on after the last step of a path) + cases that ended there:
    `converted`, `dropped` or `unfinished`. `share` is of all journeys.
    """

    path: tuple[str, ...]
    cases: int
    share: float
    converted: int
    dropped: int
    unfinished: int
    longer: int
    cut: int


@dataclass(frozen=True, slots=True)
class DiscoveredPath:
    """Path up to the limit of steps; `complete`: whether the journeys ended there."""

    path: tuple[str, ...]
    complete: bool
    journeys: int
    share: float
    converted: int


@dataclass(frozen=True, slots=True)
class Discovery:
    """Discovered paths, the most frequent first; `cut_paths`, `cut_journeys`: numbers of the
    distinct paths that are left out, and of their journeys."""

    cases: int
    journeys: int
    converted: int
    dropped: int
    unfinished: int
    paths: tuple[DiscoveredPath, ...]
    cut_paths: int
    cut_journeys: int
    tree: tuple[PathNode, ...]
    time_to_convert: ConversionCurve


def discover(log: EventLog, options: DiscoveryOptions) -> Discovery:
    """Find the paths of a table of events."""
    _load_journeys(log, options)
    queries = log.queries
    [(cases, journeys, conversions, drop_offs, unfinished_journeys)] = queries.rows(
        """
        SELECT count(DISTINCT case_id), count(*), count(*) FILTER (outcome = 'converted'),
            count(*) FILTER (outcome = 'dropped'), count(*) FILTER (outcome = 'unfinished')
        FROM found_journeys
        """
    )
    rows = queries.rows(
        f"""
        SELECT path, complete, journey_count, won, count(*) OVER (),
            sum(journey_count) OVER ()::BIGINT
        FROM (
            SELECT path, complete, sum(journeys)::BIGINT AS journey_count,
                coalesce(sum(journeys) FILTER (outcome = 'converted'), 0)::BIGINT AS won
            FROM found_paths GROUP BY path, complete
        )
        ORDER BY journey_count DESC, path, complete LIMIT {options.nodes}
        """
    )
    paths = tuple(
        DiscoveredPath(tuple(path), complete, count, count / journeys, conversions)
        for path, complete, count, conversions, _, _ in rows
    )
    all_paths, all_journeys = rows[0][-2:] if rows else (0, 0)
    return Discovery(
        cases,
        journeys,
        conversions,
        drop_offs,
        unfinished_journeys,
        paths,
        all_paths - len(paths),
        all_journeys - sum(path.journeys for path in paths),
        _tree(log, options, journeys),
        conversion_curve(
            _followed_journeys(log, options.window_ms) if options.goal is not None else []
        ),
    )


def _load_journeys(log: EventLog, options: DiscoveryOptions) -> None:
    """Load `found_journeys`, each with its first names and its outcome, and `found_paths`, with the
    numbers of their journeys by outcome."""
    _load_parts(log, options)
    window = options.window_ms * 1000
    is_over = f"{log.end} - begun >= {window}"
    if options.gap_ms:
        is_over += f" OR {log.end} - latest > {options.gap_ms * 1000}"
    log.queries.define(
        "found_journeys",
        f"""
        SELECT case_id, begun, latest, list_slice(names, 1, {options.steps}) AS path,
            len(names) <= {options.steps} AS complete, goal_at,
            CASE WHEN goal_at IS NOT NULL THEN 'converted'
                WHEN {is_over} OR has_more THEN 'dropped' ELSE 'unfinished' END AS outcome
        FROM (
            SELECT p.case_id, p.part, b.begun, b.latest, b.has_more,
                list(name ORDER BY moment, line) AS names, min(moment) FILTER (is_goal) AS goal_at
            FROM parted AS p JOIN (
                SELECT case_id, part, min(moment) AS begun, max(moment) AS latest,
                    part < max(part) OVER (PARTITION BY case_id) AND NOT bool_or(is_goal)
                        AS has_more
                FROM parted GROUP BY case_id, part
            ) AS b ON p.case_id = b.case_id AND p.part = b.part
            WHERE p.moment < b.begun + {window}
            GROUP BY ALL
        )
        """,
    )
    log.queries.define(
        "found_paths",
        """
        SELECT path, complete, outcome, count(*) AS journeys FROM found_journeys GROUP BY ALL
        """,
    )


def _load_parts(log: EventLog, options: DiscoveryOptions) -> None:
    """Load `parted`: the events of each case, with the number of the journey that they are in."""
    goal = "FALSE" if options.goal is None else f"name = {sql_text(options.goal)}"
    gap = f"moment - previous_moment > {options.gap_ms * 1000}" if options.gap_ms else "FALSE"
    log.queries.define(
        "parted",
        f"""
        SELECT *, sum(CASE WHEN begins THEN 1 ELSE 0 END) OVER (
                PARTITION BY case_id ORDER BY moment, line) AS part
        FROM (
            SELECT *, previous_moment IS NULL OR after_goal OR {gap} AS begins
            FROM (
                SELECT case_id, moment, line, name, {goal} AS is_goal,
                    lag(moment) OVER event_order AS previous_moment,
                    coalesce(lag({goal}) OVER event_order, false) AS after_goal
                FROM events WINDOW event_order AS (PARTITION BY case_id ORDER BY moment, line)
            )
        )
        """,
    )


def _followed_journeys(log: EventLog, window_ms: int) -> list[FollowedCases]:
    """Return the journeys by the time for which they were followed; a journey that a gap ended
    cannot convert any more, and is followed until its window closes."""
    closes = f"least(begun + {window_ms * 1000}, {log.end})"
    rows = log.queries.rows(
        f"""
        SELECT (coalesce(goal_at, {closes}) - begun) // 1000 AS duration,
            goal_at IS NOT NULL AS converted, count(*)
        FROM found_journeys GROUP BY ALL ORDER BY duration, converted
        """
    )
    return [FollowedCases(*row) for row in rows]


def _tree(log: EventLog, options: DiscoveryOptions, journey_count: int) -> tuple[PathNode, ...]:
    """Return the nodes with most journeys; the nodes before a returned one are returned too."""
    rows = log.queries.rows(
        f"""
        WITH prefixes AS (
            SELECT list_slice(path, 1, length) AS path, length = len(path) AS ends, complete,
                outcome, journeys
            FROM (SELECT *, unnest(range(0, len(path) + 1)) AS length FROM found_paths)
        )
        SELECT path, sum(journeys)::BIGINT AS journey_count,
            map_from_entries(list((ending, journeys)) FILTER (ends))
        FROM (
            SELECT path, ends, CASE WHEN complete THEN outcome ELSE 'longer' END AS ending,
                sum(journeys)::BIGINT AS journeys
            FROM prefixes GROUP BY ALL
        )
        GROUP BY path ORDER BY journey_count DESC, len(path), path LIMIT {options.nodes}
        """
    )
    child_cases: dict[tuple[str, ...], int] = defaultdict(int)
    for path, count, _ in rows:
        if path:
            child_cases[tuple(path[:-1])] += count
    return tuple(
        _node(tuple(path), count, ends or {}, child_cases[tuple(path)], journey_count)
        for path, count, ends in rows
    )


def _node(
    path: tuple[str, ...],
    count: int,
    ends: dict[Any, int],
    child_case_count: int,
    journey_count: int,
) -> PathNode:
    return PathNode(
        path,
        count,
        count / journey_count,
        ends.get("converted", 0),
        ends.get("dropped", 0),
        ends.get("unfinished", 0),
        ends.get("longer", 0),
        count - child_case_count - sum(ends.values()),
    )
