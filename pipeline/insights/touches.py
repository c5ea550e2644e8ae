"""Path counts of a table of touches and conversions, in SQL.

A conversion's journey is the touches of its customer since the conversion before, within the
lookback. Touches without a conversion within the lookback are journeys without conversion, split
where two are a lookback or more apart; one whose lookback had not passed when the table ends is
left out, because it may still convert. Conversions of a customer at the same instant share their
journey. Touches at the same instant are ordered by name, and come before a conversion at that
instant; times have a resolution of a millisecond. Customers are identified by a hash of 64 bits:
the chance that two of two million customers collide is one in ten million.
"""

from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from scipy import sparse

from pipeline.insights.attribution import Credits, Interval
from pipeline.insights.engines import Queries
from pipeline.insights.paths import NO_TOUCH, Floats, Ints, PathCounts, sum_by
from pipeline.insights.resampling import Customers
from pipeline.insights.tables import Column, TableError

Unit: TypeAlias = Literal["channel", "campaign", "message", "sequence"]
TouchKind: TypeAlias = Literal["sent", "seen", "clicked"]
TOUCH_KINDS: Final[tuple[TouchKind, ...]] = ("sent", "seen", "clicked")

_TOUCH: Final = "kind = 'touch'"

# An event is one whole number that sorts by time, conversions after touches, units by name:
# milliseconds since the first event, a bit for conversions, the unit's code. One number sorts
# several times faster than three columns.
_UNIT_BITS: Final = 20
_CONVERSION: Final = 1 << _UNIT_BITS
_TIME_BITS: Final = _UNIT_BITS + 1
_MAX_SPAN_MS: Final = 1 << (62 - _TIME_BITS)
_UNITS: Final = _CONVERSION - 1
_MAX_LISTED_EVENTS: Final = 32
"""Most events of a history that is cut as a list, which takes time quadratic in its length."""

_EVERYTHING_BUT_TIME: Final = _CONVERSION | _UNITS
_Z_95: Final = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True)
class TouchOptions:
    """Options of reading touches; durations in ms.

    `touch`: only touches of that kind, by the column `touch`; `since_ms`, `until_ms`: period for
    which the table is complete (default: an unknown beginning, and its latest row as the end);
    conversions whose lookback begins before `since_ms` are left out. `session_ms`: a touch that
    repeats the previous one within this time is left out (0: none is).
    """

    unit: Unit = "channel"
    touch: TouchKind | None = None
    lookback_ms: int = 30 * 86_400_000
    session_ms: int = 0
    since_ms: int | None = None
    until_ms: int | None = None
    zone: str | None = None


@dataclass(frozen=True, slots=True)
class Support:
    """Counts behind the figures. `touches`: by the column `touch` (`touch` without one);
    `unfinished`: journeys left out because they may still convert; `unseen`: conversions left out
    because their lookback begins before the table does; `repeated`: rows with a repeated id."""

    customers: int
    journeys: int
    conversions: int
    touches: dict[str, int]
    unfinished: int
    unseen: int
    repeated: int


def read_touches(queries: Queries, file: Path, options: TouchOptions) -> "Journeys":
    """Read a table of touches and make its journeys. Raises TableError."""
    names = dict.fromkeys(("channel", options.unit))
    columns = [
        Column("profile_id", "text"),
        Column("occurred_at", "time"),
        Column("kind", "text", choices=("touch", "conversion")),
        Column("value", "amount", required=False, default="0.0"),
        Column("event_id", "text", required=False, blank=True),
        Column("touch", "text", options.touch is not None, blank=True, choices=TOUCH_KINDS),
        *(
            Column(name, "text", blank=True, blank_unless=_TOUCH if name == "channel" else "")
            for name in names
        ),
    ]
    table = queries.open_table(file, columns, options.zone, ordered=False)
    return Journeys(queries, file, options, "event_id" in table.file_columns)


class Journeys:
    """Journeys of the view `checked`, in temporary tables of an engine."""

    def __init__(
        self,
        queries: Queries,
        file: Path,
        options: TouchOptions,
        has_ids: bool,
    ) -> None:
        self._queries = queries
        self._file = file
        self._options = options
        self._lookback = options.lookback_ms
        self._repeated_rows = self._load_rows(has_ids)
        self._start_ms, self._end_ms = self._span()
        self._units = self._load_units()
        self._load_events()
        self._load_journeys()

    def support(self) -> Support:
        """Return the counts behind the figures."""
        customers, journeys, conversions = self._first_row(
            "SELECT count(DISTINCT customer), count(*), coalesce(sum(conversions), 0)::BIGINT "
            "FROM journeys"
        )
        touches = self._queries.rows(
            "SELECT coalesce(touch, 'touch') AS how, count(*) FROM rows WHERE NOT converted "
            "GROUP BY how ORDER BY how"
        )
        (unfinished_journeys,) = self._first_row("SELECT count(*) FROM chained WHERE NOT finished")
        (unseen_conversions,) = self._first_row(
            "SELECT coalesce(sum(conversions), 0)::BIGINT FROM outcomes WHERE NOT seen"
        )
        return Support(
            customers,
            journeys,
            conversions,
            dict(touches),
            unfinished_journeys,
            unseen_conversions,
            self._repeated_rows,
        )

    def path_counts(self) -> PathCounts:
        """Return the distinct paths with their numbers of conversions and nulls."""
        result = self._queries.arrow(
            "SELECT path, conversions, value, nulls FROM path_counts ORDER BY id"
        )
        lists = result.column("path").combine_chunks()
        lengths = np.asarray(lists.value_lengths(), dtype=np.int64)
        return PathCounts(
            channels=self._units,
            offsets=np.concatenate(([0], np.cumsum(lengths))),
            codes=np.asarray(lists.flatten(), dtype=np.int64),
            conversions=_floats(result.column("conversions")),
            values=_floats(result.column("value")),
            nulls=_floats(result.column("nulls")),
        )

    def customers(self, paths: PathCounts) -> Customers:
        """Return the customers grouped by equal journeys."""
        result = self._queries.arrow(
            """
            WITH numbered AS (
                SELECT j.customer, p.id AS path, j.conversions
                FROM journeys AS j JOIN path_counts AS p ON j.path = p.path
            ), by_customer AS (
                SELECT customer, list_sort(list(
                    struct_pack(path := path, conversions := conversions))) AS entries
                FROM numbered GROUP BY customer
            ), kinds AS (
                SELECT entries, count(*) AS customers, min(customer) AS first_customer
                FROM by_customer GROUP BY entries
            )
            SELECT id, customers, entry.path AS path, entry.conversions AS conversions
            FROM (
                SELECT row_number() OVER (ORDER BY first_customer) - 1 AS id, customers,
                    unnest(entries) AS entry
                FROM kinds
            )
            """
        )
        kind = _integers(result.column("id"))
        path = _integers(result.column("path"))
        conversions = _floats(result.column("conversions"))
        counts = np.zeros(int(kind.max(initial=-1)) + 1)
        counts[kind] = _floats(result.column("customers"))
        shape = (len(counts), len(paths.conversions))

        def table(amounts: Floats) -> Any:
            return sparse.csr_array((amounts, (kind, path)), shape=shape)

        return Customers(counts, table(conversions), table((conversions == 0).astype(np.float64)))

    def time_decay(self, half_life_ms: int) -> tuple[Credits, Interval | None]:
        """Return credits that halve with every half-life between touch and conversion.

        The credits depend on times, which paths do not have, so they are summed in SQL, with the
        interval to which a bootstrap over customers converges for a sum (None: fewer than two
        customers).
        """
        result = self._queries.arrow(_decayed_credit_sql(half_life_ms))
        code = _integers(result.column("code"))

        def by_unit(name: str) -> Floats:
            return sum_by(code, _floats(result.column(name)), len(self._units))

        credits = Credits(
            by_unit("conversions"), by_unit("value"), np.full(len(self._units), np.nan)
        )
        (customers,) = self._first_row("SELECT count(DISTINCT customer) FROM journeys")
        if customers < 2:
            return credits, None
        variance = by_unit("squares") - credits.conversions**2 / customers
        reach = _Z_95 * np.sqrt(np.maximum(variance, 0.0))
        low = np.maximum(credits.conversions - reach, 0.0)
        return credits, Interval(low, credits.conversions + reach)

    def _load_rows(self, has_ids: bool) -> int:
        """Load the rows up to `until_ms`, each id once; return the number of repeated rows."""
        options = self._options
        until_condition = (
            "TRUE" if options.until_ms is None else f"occurred_at <= {options.until_ms * 1000}"
        )
        first_condition = (
            "QUALIFY event_id IS NULL OR row_number() OVER "
            "(PARTITION BY event_id ORDER BY occurred_at, profile_id, kind) = 1"
            if has_ids
            else ""
        )
        self._queries.define_view(
            "rows",
            f"""
            SELECT hash(profile_id) AS customer, occurred_at // 1000 AS ms,
                kind = 'conversion' AS converted,
                coalesce({options.unit}, '(no {options.unit})') AS unit, value, touch
            FROM checked WHERE {until_condition} {first_condition}
            """,
        )
        if not has_ids:
            return 0
        (repeated_rows,) = self._first_row(
            "SELECT count(event_id) - count(DISTINCT event_id) FROM checked WHERE "
            + until_condition
        )
        return int(repeated_rows)

    def _span(self) -> tuple[int, int]:
        start_ms, end_ms = self._first_row(
            "SELECT coalesce(min(ms), 0), coalesce(max(ms), 0) FROM rows"
        )
        if self._options.until_ms is not None:
            end_ms = self._options.until_ms
        if end_ms - start_ms >= _MAX_SPAN_MS:
            raise TableError(
                f"{self._file}: occurred_at: times span more than "
                f"{_MAX_SPAN_MS // 31_557_600_000} years: one of them is wrong"
            )
        return start_ms, end_ms

    def _load_units(self) -> tuple[str, ...]:
        is_touch = f"NOT converted AND {self._touch_condition()}"
        self._queries.define(
            "units",
            f"""
            SELECT unit, row_number() OVER (ORDER BY unit) - 1 AS code
            FROM (SELECT DISTINCT unit FROM rows WHERE {is_touch})
            """,
        )
        rows = self._queries.rows("SELECT unit FROM units ORDER BY code")
        units = tuple(unit for (unit,) in rows)
        if len(units) > _UNITS:
            raise TableError(
                f"{self._file}: {self._options.unit}: {len(units):,} different ones, at most "
                f"{_UNITS:,} are possible: take a coarser unit"
            )
        if NO_TOUCH in units:
            raise TableError(
                f"{self._file}: {self._options.unit}: the name {NO_TOUCH!r} is taken: rename it"
            )
        return units

    def _touch_condition(self) -> str:
        kind = self._options.touch
        return f"touch = '{kind}'" if kind else "TRUE"

    def _load_events(self) -> None:
        """Fill `events` (one number per touch or conversion) and `outcomes` (conversions by
        customer and instant)."""
        since = self._options.since_ms
        is_seen = (
            "TRUE" if since is None else f"moment >= {since + self._lookback - self._start_ms}"
        )
        self._queries.define(
            "events",
            f"""
            SELECT customer, ((ms - {self._start_ms}) << {_TIME_BITS})
                + CASE WHEN converted THEN {_CONVERSION} ELSE code END AS key
            FROM rows LEFT JOIN units ON rows.unit = units.unit
            WHERE converted OR {self._touch_condition()}
            """,
        )
        self._queries.define(
            "outcomes",
            f"""
            SELECT customer, moment, conversions, value, {is_seen} AS seen
            FROM (
                SELECT customer, ms - {self._start_ms} AS moment, count(*) AS conversions,
                    sum(value) AS value
                FROM rows WHERE converted GROUP BY customer, ms
            )
            """,
        )
        if self._options.session_ms:
            self._drop_repeated_touches()

    def _drop_repeated_touches(self) -> None:
        """Drop touches that repeat the previous one within the session gap."""
        self._queries.define(
            "events",
            f"""
            SELECT customer, key FROM (
                SELECT customer, key, lag(key) OVER (PARTITION BY customer ORDER BY key) AS before
                FROM events
            )
            WHERE before IS NULL OR (key & {_CONVERSION}) > 0
                OR (key & {_EVERYTHING_BUT_TIME}) <> (before & {_EVERYTHING_BUT_TIME})
                OR (key >> {_TIME_BITS}) - (before >> {_TIME_BITS}) > {self._options.session_ms}
            """,
        )

    def _load_journeys(self) -> None:
        """Load `journeys`, each customer's events cut at the end of each journey, and
        `path_counts`, the distinct paths."""
        self._queries.define(
            "histories",
            f"""
            SELECT customer, list_sort(list(key)) AS keys,
                max(key & {_CONVERSION}) = 0 AND count(*) <= {_MAX_LISTED_EVENTS} AS is_plain
            FROM events GROUP BY customer
            """,
        )
        self._cut_at_goals()
        is_over = (
            f"{self._end_ms - self._start_ms} - (max(key) >> {_TIME_BITS}) >= {self._lookback}"
        )
        self._queries.define(
            "chained",
            f"""
            {self._cut_at_pauses()}
            UNION ALL
            SELECT customer, max(moment) AS moment, list_sort(list(key)) AS keys,
                max(moment) IS NOT NULL OR {is_over} AS finished
            FROM steps GROUP BY customer, journey
            """,
        )
        self._queries.define("journeys", _JOURNEYS)
        self._queries.define("path_counts", _PATH_COUNTS)

    def _cut_at_pauses(self) -> str:
        """Return SQL for the journeys of simple histories, which end at a pause of the lookback or
        more. Cutting short lists is several times faster than window functions."""
        pause = f"(keys[i + 1] >> {_TIME_BITS}) - (keys[i] >> {_TIME_BITS}) >= {self._lookback}"
        last = f"list_max(keys) >> {_TIME_BITS}"
        return f"""
            SELECT customer, CAST(NULL AS BIGINT) AS moment, keys,
                {self._end_ms - self._start_ms} - ({last}) >= {self._lookback} AS finished
            FROM (
                SELECT customer, unnest(list_transform(range(1, len(ends) + 1),
                    lambda j: list_slice(keys, begins[j], ends[j]))) AS keys
                FROM (
                    SELECT customer, keys, ends, list_concat([1], list_transform(
                        list_slice(ends, 1, len(ends) - 1), lambda e: e + 1)) AS begins
                    FROM (
                        SELECT customer, keys, list_filter(range(1, len(keys) + 1),
                            lambda i: coalesce({pause}, TRUE)) AS ends
                        FROM histories WHERE is_plain
                    )
                )
            )
            """

    def _cut_at_goals(self) -> None:
        """Load `steps`: touches of the other histories, read backwards, each with the time of its
        conversion and the number of its journey."""
        until_goal = f"(goal >> {_TIME_BITS}) - (key >> {_TIME_BITS})"
        until_later = f"(later >> {_TIME_BITS}) - (key >> {_TIME_BITS})"
        later_until_goal = f"(goal >> {_TIME_BITS}) - (later >> {_TIME_BITS})"
        lookback = self._lookback
        self._queries.define(
            "steps",
            f"""
            SELECT customer, key,
                CASE WHEN {until_goal} < {lookback} THEN goal >> {_TIME_BITS} END AS moment,
                count(CASE WHEN later IS NULL OR (later & {_CONVERSION}) > 0
                        OR {until_later} >= {lookback}
                        OR ({until_goal} >= {lookback} AND {later_until_goal} < {lookback})
                    THEN 1 END) OVER (PARTITION BY customer ORDER BY key DESC) AS journey
            FROM (
                SELECT customer, key, lag(key) OVER latest_first AS later,
                    min(CASE WHEN (key & {_CONVERSION}) > 0 THEN key END) OVER latest_first AS goal
                FROM (SELECT customer, unnest(keys) AS key FROM histories WHERE NOT is_plain)
                WINDOW latest_first AS (PARTITION BY customer ORDER BY key DESC)
            ) WHERE (key & {_CONVERSION}) = 0
            """,
        )

    def _first_row(self, sql: str) -> tuple[Any, ...]:
        return self._queries.rows(sql)[0]


def _decayed_credit_sql(half_life_ms: int) -> str:
    """Return SQL for the sums, by unit, of the customers' credits and of the squares of these.

    Weights are relative to that of the journey's latest touch, so that their sum is at least 1.
    """
    latest = f"max(key >> {_TIME_BITS}) OVER (PARTITION BY customer, moment)"
    return f"""
        WITH weighed AS (
            SELECT customer, moment, key & {_UNITS} AS code,
                pow(2.0, ((key >> {_TIME_BITS}) - {latest}) / {float(half_life_ms)}) AS weight
            FROM steps WHERE moment IS NOT NULL
        ), totals AS (
            SELECT customer, moment, sum(weight) AS total FROM weighed GROUP BY customer, moment
        ), credited AS (
            SELECT w.customer, w.code, sum(o.conversions * w.weight / t.total) AS conversions,
                sum(o.value * w.weight / t.total) AS value
            FROM weighed AS w
            JOIN totals AS t ON w.customer = t.customer AND w.moment = t.moment
            JOIN outcomes AS o ON w.customer = o.customer AND w.moment = o.moment
            WHERE o.seen
            GROUP BY w.customer, w.code
        )
        SELECT code, sum(conversions) AS conversions, sum(value) AS value,
            sum(conversions * conversions) AS squares
        FROM credited GROUP BY code
    """


_JOURNEYS: Final = f"""
WITH paths AS (
    SELECT customer, moment, list_transform(keys, lambda key: key & {_UNITS}) AS path
    FROM chained WHERE finished
)
SELECT o.customer, coalesce(p.path, []) AS path, o.conversions, o.value
FROM outcomes AS o
LEFT JOIN paths AS p ON o.customer = p.customer AND o.moment = p.moment
WHERE o.seen
UNION ALL
SELECT customer, path, 0, 0.0 FROM paths WHERE moment IS NULL
"""

_PATH_COUNTS: Final = """
SELECT row_number() OVER () - 1 AS id, path, conversions, value, nulls
FROM (
    SELECT path, sum(conversions) AS conversions, sum(value) AS value,
        sum(CASE WHEN conversions = 0 THEN 1 ELSE 0 END) AS nulls
    FROM journeys GROUP BY path
)
"""


def _floats(column: Any) -> Floats:
    return np.array(column.to_numpy(), dtype=np.float64)


def _integers(column: Any) -> Ints:
    return np.array(column.to_numpy(), dtype=np.int64)
