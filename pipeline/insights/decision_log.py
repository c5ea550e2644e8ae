"""Relations of a replayed `decisions` topic: candidates, contests, and exclusions.

* `decided` (decision_id, profile_id, grp): decisions with any candidate, once per group;
* `entries`: candidates of slots with p, value, cost and weight, and with their fates;
* `contests`: entries that competed by score for a slot, with the slot's winner;
* `exclusions`: excluded treatments, each with the rule and the number of the rule's stage.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from pipeline.insights.engines import Queries
from pipeline.insights.topic_files import DECISIONS, SEGMENTED

DecisionGrouping: TypeAlias = Literal["all", "segment", "day", "week", "month"]
GROUPINGS: Final[tuple[DecisionGrouping, ...]] = ("all", "segment", "day", "week", "month")

STAGES: Final = (
    *("trigger", "eligibility", "applicability", "suitability"),
    *("constraint", "content", "arbitration", "holdout"),
)
"""Stages of rules in the order of checks."""

_NEEDED_COLUMNS: Final = (
    *("decision_id", "event_id", "profile_id", "decided_at"),
    *("choices", "candidates", "rejected"),
    *("kafka_partition", "kafka_offset", "kafka_error"),
)
TRIGGERS: Final = "('applicability/trigger', 'applicability/interaction too old')"
"""Rules of triggers, as a list in SQL; they come before all other rules of a campaign."""

_PERIODS: Final = {
    "all": "'all'",
    "day": "strftime(decided_at, '%Y-%m-%d')",
    "week": "strftime(date_trunc('week', decided_at), '%Y-%m-%d')",
    "month": "strftime(decided_at, '%Y-%m')",
}


@dataclass(frozen=True, slots=True)
class DecisionLogOptions:
    """Grouping of decisions `by` segment or time, from `since` (inclusive) to `until` (exclusive),
    both in epoch ms."""

    by: DecisionGrouping = "all"
    since: int | None = None
    until: int | None = None


def load_decisions(queries: Queries, folder: Path, options: DecisionLogOptions) -> None:
    """Make the relations of FOLDER/decisions and, by segment, of FOLDER/interactions.segmented.

    Raises TableError for topics that are missing or damaged.
    """
    topic = queries.open_topic(folder, DECISIONS, _NEEDED_COLUMNS)
    queries.define("read", _decisions_sql(topic, options))
    queries.define(
        "entries",
        """
        SELECT decision_id, c.slot AS slot, c.offer AS offer, c.campaign AS campaign,
            c.treatment AS treatment, c.p AS p, c.value AS value, c.cost AS cost,
            c.weight AS weight, c.fate AS fate,
            c.fate = 'chosen' OR (c.fate LIKE 'held out by %' AND max(
                CASE WHEN c.fate = 'chosen' THEN 1 ELSE 0 END
            ) OVER (PARTITION BY decision_id, c.slot) = 0) AS won
        FROM (SELECT decision_id, unnest(candidates) AS c FROM read) AS opened
        """,
    )
    queries.define(
        "rejections",
        """
        SELECT decision_id, rule, unnest(names) AS treatment
        FROM (
            SELECT decision_id, r.key AS rule, r.value AS names
            FROM (SELECT decision_id, unnest(map_entries(rejected)) AS r FROM read) AS opened
        ) AS listed
        """,
    )
    queries.define("exclusions", _EXCLUSIONS)
    queries.define("contests", _CONTESTS)
    queries.define("decided", _decision_groups(queries, folder, options))


def _decisions_sql(topic: str, options: DecisionLogOptions) -> str:
    period = _PERIODS.get(options.by, "''")
    limits = [
        f"decided_at {comparison} epoch_ms({bound_ms})"
        for comparison, bound_ms in ((">=", options.since), ("<", options.until))
        if bound_ms is not None
    ]
    usual_arm = (
        "coalesce(arm, 'usual') = 'usual'"  # decisions in arms of impact tests leave a factor out
    )
    condition = " AND ".join(("kafka_error IS NULL", "decision_id IS NOT NULL", usual_arm, *limits))
    return f"""
        SELECT decision_id, event_id, profile_id, candidates, rejected, period FROM (
            SELECT decision_id, event_id, profile_id, candidates, rejected, {period} AS period,
                row_number() OVER (
                    PARTITION BY decision_id ORDER BY kafka_partition, kafka_offset) AS nth
            FROM {topic} WHERE {condition}
        ) AS numbered WHERE nth = 1
    """


_EXCLUSIONS: Final = f"""
SELECT decision_id, treatment,
    CASE WHEN rule IN {TRIGGERS} THEN 0
        WHEN rule LIKE 'eligibility/%' THEN 1
        WHEN rule LIKE 'applicability/%' THEN 2
        ELSE 3 END AS stage, rule
FROM rejections
UNION ALL
SELECT decision_id, treatment,
    CASE WHEN fate LIKE 'beaten by %' THEN 6
        WHEN fate LIKE 'held out by %' THEN 7
        WHEN fate LIKE 'content %' THEN 5
        ELSE 4 END AS stage,
    CASE WHEN fate = 'beaten by nothing' THEN 'worth nothing'
        WHEN fate LIKE 'beaten by %' THEN 'beaten'
        ELSE fate END AS rule
FROM entries WHERE fate <> 'chosen'
"""

_CONTESTS: Final = """
SELECT e.decision_id AS decision_id, e.slot AS slot, e.offer AS offer, e.treatment AS treatment,
    e.p AS p, e.value AS value, e.cost AS cost, e.weight AS weight, e.won AS won,
    w.offer AS winner
FROM entries AS e
LEFT JOIN (SELECT decision_id, slot, offer, treatment FROM entries WHERE won) AS w
    ON e.decision_id = w.decision_id AND e.slot = w.slot
WHERE e.slot NOT LIKE '%/%'
    AND (e.won OR e.fate = 'beaten by nothing' OR e.fate = concat('beaten by ', w.treatment))
"""
"""Contests of slots for which messages compete; a slot with a slash in its name is that of a single
transactional message."""


def _decision_groups(queries: Queries, folder: Path, options: DecisionLogOptions) -> str:
    considered_decisions = (
        "SELECT DISTINCT decision_id FROM (SELECT decision_id FROM entries "
        "UNION ALL SELECT decision_id FROM rejections) AS any_of"
    )
    if options.by != "segment":
        return (
            "SELECT r.decision_id AS decision_id, r.profile_id AS profile_id, r.period AS grp "
            f"FROM read AS r JOIN ({considered_decisions}) AS c ON r.decision_id = c.decision_id"
        )
    topic = queries.open_topic(folder, SEGMENTED, ("interaction", "identity", "segments"))
    return f"""
        SELECT DISTINCT r.decision_id AS decision_id, r.profile_id AS profile_id, s.segment AS grp
        FROM read AS r JOIN ({considered_decisions}) AS c ON r.decision_id = c.decision_id
        JOIN (
            SELECT identity.profile_id AS profile_id, interaction.event_id AS event_id,
                unnest(segments.members) AS segment
            FROM {topic} WHERE interaction IS NOT NULL
        ) AS s ON r.profile_id = s.profile_id AND r.event_id = s.event_id
    """
