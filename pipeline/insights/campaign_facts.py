"""Facts of campaigns from the topics `decisions` and `interactions.segmented`, in SQL.

A record that a topic repeats counts once. The tables are:

* `facts`: messages that were chosen (`decided` = 1) or held out (`held` = 1), with their reported
  outcomes;
* `memberships`: the segments of the customer when a message was decided;
* `happened`: interactions that may be goals;
* `assigned`: customers with their draw for a holdout.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from pipeline.insights.engines import Queries, QueryError
from pipeline.insights.goals import CampaignGoal
from pipeline.insights.tables import MAX_AMOUNT, TableError, sql_text
from pipeline.insights.topic_files import DECISIONS, SEGMENTED
from pipeline.model.time import DAY_MS

OUTCOMES: Final = (
    "sent", "delivered", "impression", "click", "dismiss", "conversion", "bounce", "complaint",
    "expired",
)  # fmt: skip

_HOLDOUT_FATE: Final = "held out by "
_END_OF_TIME_MS: Final = 253_402_300_799_000
"""Last second of the year 9999."""


@dataclass(frozen=True, slots=True)
class Period:
    """Period of decisions from `since_ms` (inclusive; None: the log's beginning) to `until_ms`
    (exclusive; None: the log's end), at which the log is taken to end."""

    since_ms: int | None = None
    until_ms: int | None = None


@dataclass(frozen=True, slots=True)
class FactsSupport:
    """Counts behind the facts.

    `unmatched`: outcomes of messages without a decision in the log; `without_value`: conversions
    whose value is missing, negative, not a number or above 1e15, which count with a revenue of 0;
    `without_price`: messages whose worth or cost is no such amount, which counts as 0;
    `unreadable`: records that cannot be decoded; `since_ms`, `until_ms`: times of the log's first
    decision and of its end."""

    decisions: int
    customers: int
    messages: int
    outcomes: int
    unmatched: int
    without_value: int
    without_price: int
    unreadable: int
    since_ms: int | None
    until_ms: int | None


def load_facts(queries: Queries, folder: Path, period: Period) -> FactsSupport:
    """Load the tables from FOLDER/decisions and FOLDER/interactions.segmented, as `kairos replay`
    writes them. Raises TableError."""
    decisions = queries.open_topic(
        folder,
        DECISIONS,
        ("decision_id", "decided_at", "candidates", "choices", "rejected"),
    )
    segmented = queries.open_topic(folder, SEGMENTED, ("interaction", "identity", "segments"))
    try:
        end_ms = _load_interactions(queries, segmented, decisions, period)
        _load_decisions(queries, decisions, period)
        _load_messages(queries)
        _load_facts(queries)
        return _support(queries, decisions, segmented, end_ms)
    except QueryError as error:
        raise TableError(f"{folder}: cannot be read: {error}") from error


def load_goals(queries: Queries, goals: Sequence[CampaignGoal]) -> None:
    """Load `goals` (customer, campaign, at_ms, value) and `windows` (campaign, window_ms)."""
    selects = " UNION ALL ".join(
        f"SELECT customer, {sql_text(goal.campaign)} AS campaign, at_ms, value FROM happened "
        f"WHERE {goal.sql}"
        for goal in goals
    )
    no_goals = (
        "SELECT customer, CAST('' AS VARCHAR) AS campaign, at_ms, value FROM happened WHERE FALSE"
    )
    queries.define("goals", selects or no_goals)
    windows = {
        "campaign": pa.array([goal.campaign for goal in goals], pa.string()),
        "window_ms": pa.array([goal.window_ms for goal in goals], pa.int64()),
    }
    queries.load("windows", pa.table(windows))


def _load_interactions(queries: Queries, segmented: str, decisions: str, period: Period) -> int:
    """Load `received`, each interaction once, and `happened`; return the log's end in ms (0:
    empty)."""
    until_ms = _END_OF_TIME_MS if period.until_ms is None else period.until_ms
    queries.define(
        "received",
        f"""
        SELECT customer, event_id, kind, name, channel, source, at_ms, received_at, properties,
            members
        FROM (
            SELECT identity.profile_id AS customer, interaction.event_id AS event_id,
                interaction.kind AS kind, interaction.name AS name,
                interaction.channel AS channel, interaction.source AS source,
                epoch_ms(interaction.occurred_at) AS at_ms,
                epoch_ms(interaction.received_at) AS received_at,
                interaction.properties AS properties, segments.members AS members,
                row_number() OVER (
                    PARTITION BY identity.profile_id, interaction.source, interaction.event_id,
                        interaction.kind, interaction.name
                    ORDER BY interaction.received_at, kafka_partition, kafka_offset
                ) AS nth
            FROM {segmented} WHERE interaction IS NOT NULL AND kafka_error IS NULL
        ) WHERE nth = 1 AND received_at < {until_ms}
        """,
    )
    queries.define(
        "happened",
        f"""
        SELECT customer, kind, name, channel, source, at_ms, properties,
            coalesce({_amount("properties")}, 0.0) AS value
        FROM received WHERE kind <> 'outcome'
        """,
    )
    (last_ms,) = _first_row(
        queries,
        f"""SELECT greatest((SELECT coalesce(max(received_at), 0) FROM received),
            (SELECT coalesce(max(epoch_ms(decided_at)), 0) FROM {decisions}
             WHERE epoch_ms(decided_at) < {until_ms}))""",
    )
    return int(last_ms) if period.until_ms is None else period.until_ms


def _load_decisions(queries: Queries, decisions: str, period: Period) -> None:
    since_ms = 0 if period.since_ms is None else period.since_ms
    until_ms = _END_OF_TIME_MS if period.until_ms is None else period.until_ms
    queries.define(
        "decided",
        f"""
        SELECT decision_id, event_id, customer, at_ms, choices, candidates, holdouts, rejected, arm
        FROM (
            SELECT decision_id, event_id, profile_id AS customer, epoch_ms(decided_at) AS at_ms,
                choices, candidates, holdouts, rejected, arm,
                row_number() OVER (
                    PARTITION BY decision_id ORDER BY kafka_partition, kafka_offset
                ) AS nth
            FROM {decisions} WHERE decision_id IS NOT NULL AND kafka_error IS NULL
        ) WHERE nth = 1 AND at_ms >= {since_ms} AND at_ms < {until_ms}
        """,
    )


def _load_messages(queries: Queries) -> None:
    queries.define(
        "messages",
        f"""
        WITH opened AS (
            SELECT decision_id, event_id, customer, at_ms, unnest(candidates) AS entry FROM decided
        ), wanted AS (
            SELECT decision_id, event_id, customer, at_ms, entry.slot AS slot,
                entry.campaign AS campaign, entry.offer AS offer, entry.treatment AS treatment,
                entry.channel AS channel, {_finite_amount("entry.value")} AS worth,
                {_finite_amount("entry.cost")} AS cost,
                CASE WHEN entry.fate LIKE '{_HOLDOUT_FATE}%'
                    THEN substr(entry.fate, {len(_HOLDOUT_FATE) + 1}) END AS holdout
            FROM opened WHERE entry.fate = 'chosen' OR entry.fate LIKE '{_HOLDOUT_FATE}%'
        ), chosen AS (
            SELECT decision_id, entry.slot AS slot, entry.treatment AS treatment,
                entry.action_id AS action_id, entry.propensity AS propensity
            FROM (SELECT decision_id, unnest(choices) AS entry FROM decided)
        )
        SELECT w.*, c.action_id AS action_id, f.action_id IS NOT NULL AS filled
        FROM wanted AS w
        LEFT JOIN chosen AS c
            ON w.decision_id = c.decision_id AND w.slot = c.slot AND w.treatment = c.treatment
        LEFT JOIN (
            SELECT decision_id, slot, max(action_id) AS action_id FROM chosen
            GROUP BY decision_id, slot
        ) AS f ON w.decision_id = f.decision_id AND w.slot = f.slot
        """,
    )
    queries.define(
        "assigned",
        """
        SELECT customer, holdout, min(at_ms) AS at_ms, max(held) AS held, max(conflict) AS conflict
        FROM (
            SELECT customer, entry.holdout AS holdout,
                epoch_ms(CAST(entry.at AS TIMESTAMPTZ)) AS at_ms,
                CAST(entry.held AS INTEGER) AS held, CAST(entry.conflict AS INTEGER) AS conflict
            FROM (SELECT customer, unnest(holdouts) AS entry FROM decided)
        ) GROUP BY customer, holdout
        """,
    )


def _load_facts(queries: Queries) -> None:
    """Load `facts`: an outcome counts once per message, however often it was reported; each
    reported conversion adds its own revenue."""
    queries.define(
        "outcomes",
        f"""
        SELECT properties ->> '$.action_id' AS action_id, name, event_id,
            {_amount("properties")} AS value
        FROM received WHERE kind = 'outcome'
        """,
    )
    queries.define("reported", _REPORTED_OUTCOMES)
    queries.define("facts", _FACTS)
    queries.define(
        "memberships",
        """
        SELECT DISTINCT customer, event_id, unnest(members) AS segment
        FROM received WHERE (customer, event_id) IN (SELECT customer, event_id FROM facts)
        """,
    )


_OUTCOME_FLAGS: Final = ", ".join(
    f"max(CASE WHEN name = '{name}' THEN 1 ELSE 0 END) AS {name}" for name in OUTCOMES
)
_OUTCOME_COLUMNS: Final = ", ".join(f"coalesce(r.{name}, 0) AS {name}" for name in OUTCOMES)

_REPORTED_OUTCOMES: Final = f"""
SELECT action_id, {_OUTCOME_FLAGS},
    sum(CASE WHEN name = 'conversion' THEN coalesce(value, 0.0) ELSE 0.0 END) AS revenue
FROM outcomes GROUP BY action_id
"""

_FACTS: Final = f"""
SELECT m.decision_id, m.event_id, m.customer, m.at_ms, m.at_ms // {DAY_MS} AS day,
    m.campaign, m.offer, m.treatment, m.channel,
    CASE WHEN m.holdout IS NULL THEN 1 ELSE 0 END AS decided,
    CASE WHEN m.holdout IS NULL THEN 0 ELSE 1 END AS held,
    {_OUTCOME_COLUMNS},
    greatest(coalesce(r.impression, 0), coalesce(r.click, 0), coalesce(r.dismiss, 0),
        coalesce(r.conversion, 0)) AS seen,
    greatest(coalesce(r.click, 0), coalesce(r.conversion, 0)) AS clicked,
    coalesce(r.revenue, 0.0) AS revenue,
    coalesce(r.conversion, 0) * coalesce(m.worth, 0.0) AS worth,
    CASE WHEN m.holdout IS NULL AND coalesce(r.expired, 0) = 0
        THEN coalesce(m.cost, 0.0) ELSE 0.0 END AS cost
FROM messages AS m LEFT JOIN reported AS r ON m.action_id = r.action_id
"""


def _support(queries: Queries, decisions: str, segmented: str, end_ms: int) -> FactsSupport:
    (decision_count, customer_count, first_ms) = _first_row(
        queries, "SELECT count(*), count(DISTINCT customer), min(at_ms) FROM decided"
    )
    (message_count, messages_without_price) = _first_row(
        queries,
        """SELECT count(*), count(*) FILTER (WHERE worth IS NULL OR cost IS NULL)
        FROM messages WHERE holdout IS NULL""",
    )
    (outcome_count, unmatched_outcomes, conversions_without_value) = _first_row(
        queries,
        """SELECT count(*), count(*) FILTER (WHERE m.action_id IS NULL),
            count(*) FILTER (WHERE o.name = 'conversion' AND o.value IS NULL)
        FROM outcomes AS o LEFT JOIN (SELECT DISTINCT action_id FROM messages
            WHERE action_id IS NOT NULL) AS m ON o.action_id = m.action_id""",
    )
    (unreadable,) = _first_row(
        queries,
        f"""SELECT (SELECT count(kafka_error) FROM {decisions})
            + (SELECT count(kafka_error) FROM {segmented})""",
    )
    return FactsSupport(
        decisions=decision_count,
        customers=customer_count,
        messages=message_count,
        outcomes=outcome_count,
        unmatched=unmatched_outcomes,
        without_value=conversions_without_value,
        without_price=messages_without_price,
        unreadable=unreadable,
        since_ms=first_ms,
        until_ms=end_ms if decision_count else None,
    )


def _amount(properties: str) -> str:
    """Return SQL for the first of value, revenue and total that is present; NULL unless it is an
    amount of at least 0."""
    fields = ", ".join(f"{properties} ->> '$.{name}'" for name in ("value", "revenue", "total"))
    number = f"TRY_CAST(coalesce({fields}) AS DOUBLE)"
    return f"CASE WHEN {number} >= 0 THEN {_finite_amount(number)} END"


def _finite_amount(number: str) -> str:
    """Return SQL for a finite amount, else NULL; NaN sorts above all numbers."""
    return f"CASE WHEN abs({number}) <= {MAX_AMOUNT:.0f} THEN {number} END"


def _first_row(queries: Queries, sql: str) -> tuple[Any, ...]:
    return queries.rows(sql)[0]
