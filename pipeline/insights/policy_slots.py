"""Slots of a log with the choices of two configurations, in tables of the engine."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.insights.campaign_facts import Period
from pipeline.insights.engines import Queries
from pipeline.insights.tables import sql_text

_CERTAIN_CHANCE: Final = 1.0 - 1e-9
_CHANCE_TOLERANCE: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Replays:
    """Files of replayed decisions with the chances of their choices: by the `other` configuration
    and, if it was replayed too, by the log's `own` configuration."""

    other: Path
    own: Path | None = None


def load_compared_slots(
    queries: Queries, replays: Replays, period: Period, log_ends_ms: int
) -> None:
    """Load `slots`, the slots of a period's decisions, and `compared`, the slots that can be
    compared: a choice was drawn, or both configurations choose the same. The log's facts and goals
    must be loaded."""
    _load_logged(queries)
    _load_replay(queries, "other", replays.other)
    queries.define(
        "played", "SELECT decision_id, any_value(segments) AS members FROM other_rows GROUP BY 1"
    )
    if replays.own is None:
        _load_log_as_replay(queries)
    else:
        _load_replay(queries, "own", replays.own)
    _load_slots(queries, period, log_ends_ms)
    _load_comparable_slots(queries, is_own_replay=replays.own is None)


def _load_logged(queries: Queries) -> None:
    """Load `logged`, the log's choices, and `rewards`, the worth of its messages."""
    queries.define(
        "logged",
        """
        SELECT decision_id, entry.slot AS slot, coalesce(entry.treatment, '') AS treatment,
            entry.action_id AS action_id, entry.propensity AS propensity
        FROM (SELECT decision_id, unnest(choices) AS entry FROM decided)
        WHERE NOT contains(entry.slot, '#')
        """,
    )
    queries.define(
        "rewards",
        """
        WITH reached AS (
            SELECT DISTINCT m.action_id
            FROM messages AS m JOIN windows AS w ON m.campaign = w.campaign
            JOIN goals AS g ON g.customer = m.customer AND g.campaign = m.campaign
                AND g.at_ms > m.at_ms AND g.at_ms <= m.at_ms + w.window_ms
        )
        SELECT m.action_id, CASE WHEN coalesce(o.expired, 0) > 0 THEN 0.0
            ELSE CASE WHEN r.action_id IS NOT NULL OR coalesce(o.conversion, 0) > 0
                THEN coalesce(m.worth, 0.0) ELSE 0.0 END - coalesce(m.cost, 0.0) END AS reward
        FROM messages AS m LEFT JOIN reached AS r ON m.action_id = r.action_id
        LEFT JOIN reported AS o ON m.action_id = o.action_id
        WHERE m.action_id IS NOT NULL
        """,
    )


def _load_replay(queries: Queries, name: str, file: Path) -> None:
    """Load the chances of choices in the slots of a replay's decisions; a choice without a draw has
    a chance of 1."""
    queries.define_view(f"{name}_rows", f"SELECT * FROM read_parquet({sql_text(str(file))})")
    _load_names(queries, name, f"SELECT unnest(candidates) AS entry FROM {name}_rows")
    queries.define(
        f"{name}_slots",
        f"""
        SELECT decision_id, slot, coalesce(chances, MAP {{coalesce(treatment, ''): 1.0::DOUBLE}})
            AS chances
        FROM {name}_rows WHERE channel IS NOT NULL AND NOT contains(slot, '#')
        """,
    )


def _load_names(queries: Queries, name: str, candidates: str) -> None:
    """Load the offer and the channel of each treatment; several are joined by commas."""
    queries.define(
        f"{name}_names",
        f"""
        SELECT entry.treatment AS treatment,
            string_agg(DISTINCT entry.offer, ', ' ORDER BY entry.offer) AS offer,
            string_agg(DISTINCT entry.channel, ', ' ORDER BY entry.channel) AS channel
        FROM ({candidates}) GROUP BY 1
        """,
    )


def _load_log_as_replay(queries: Queries) -> None:
    _load_names(queries, "own", "SELECT unnest(candidates) AS entry FROM decided")
    queries.define(
        "own_slots", "SELECT decision_id, slot, MAP {treatment: 1.0::DOUBLE} AS chances FROM logged"
    )


_DIFFERENCE_CONDITION: Final = f"""
len(list_filter(list_concat(map_keys(o.own), map_keys(o.other)), lambda name:
    abs(coalesce(o.own[name], 0.0) - coalesce(o.other[name], 0.0)) > {_CHANCE_TOLERANCE!r})) > 0
"""


def _load_slots(queries: Queries, period: Period, log_ends_ms: int) -> None:
    """Load `slots`: the log's choice in each, its worth, and both configurations' chances. In a
    slot that a configuration did not fill, its choice is not a message."""
    [(longest_window_ms,)] = queries.rows("SELECT coalesce(max(window_ms), 0) FROM windows")
    start_ms = 0 if period.since_ms is None else period.since_ms
    end_ms = log_ends_ms + 1 if period.until_ms is None else period.until_ms
    queries.define(
        "slots",
        f"""
        WITH keys AS (
            SELECT decision_id, slot FROM logged UNION SELECT decision_id, slot FROM other_slots
            UNION SELECT decision_id, slot FROM own_slots
        ), opened AS (
            SELECT k.decision_id, k.slot, coalesce(l.treatment, '') AS treatment,
                l.action_id AS action_id, coalesce(l.propensity, 1.0) AS propensity,
                coalesce(a.chances, MAP {{'': 1.0::DOUBLE}}) AS own,
                coalesce(b.chances, MAP {{'': 1.0::DOUBLE}}) AS other
            FROM keys AS k
            LEFT JOIN logged AS l ON k.decision_id = l.decision_id AND k.slot = l.slot
            LEFT JOIN own_slots AS a ON k.decision_id = a.decision_id AND k.slot = a.slot
            LEFT JOIN other_slots AS b ON k.decision_id = b.decision_id AND k.slot = b.slot
        )
        SELECT d.customer, o.decision_id, o.slot, o.treatment, o.propensity, o.own, o.other,
            coalesce(r.reward, 0.0) AS reward, p.members, p.decision_id IS NOT NULL AS played,
            o.propensity >= {_CERTAIN_CHANCE!r} AND
                CASE WHEN o.own = o.other THEN FALSE ELSE {_DIFFERENCE_CONDITION} END
                AS is_undrawn,
            d.at_ms + {int(longest_window_ms)} <= {log_ends_ms} AS finished
        FROM opened AS o JOIN decided AS d ON o.decision_id = d.decision_id
        LEFT JOIN played AS p ON o.decision_id = p.decision_id
        LEFT JOIN rewards AS r ON o.action_id = r.action_id
        WHERE d.at_ms >= {start_ms} AND d.at_ms < {end_ms}
        """,
    )


def _load_comparable_slots(queries: Queries, *, is_own_replay: bool) -> None:
    """Load `compared`: the slots that can be compared, with the weights of the log's choice under
    each configuration; `half`: number of the random half that the customer is in."""
    own_weight = "1.0" if is_own_replay else "coalesce(own[treatment], 0.0) / propensity"
    queries.define(
        "compared",
        f"""
        SELECT row_number() OVER () AS slot_id, customer,
            ascii(right(md5(customer), 1)) % 2 AS half, treatment, reward, own, other, members,
            {own_weight} AS own_weight,
            coalesce(other[treatment], 0.0) / propensity AS weight
        FROM slots WHERE finished AND played AND NOT is_undrawn
        """,
    )


def load_expected_choices(queries: Queries) -> None:
    """Load `own_worth`, the worth of each customer's messages under the log's configuration (doubly
    robust), and `expected`, the numbers of messages under each configuration.

    The predicted worth of a treatment for one half of the customers is the mean over the messages
    of the other half, so that no message predicts itself; for a treatment
    that the other half never got, it is the mean of all messages of that half."""
    queries.define(
        "overall",
        """
        SELECT h.half, coalesce(avg(c.reward), 0.0) AS mean
        FROM (SELECT unnest([0, 1]) AS half) AS h
        LEFT JOIN compared AS c ON c.half <> h.half AND c.treatment <> '' GROUP BY h.half
        """,
    )
    queries.define(
        "means",
        "SELECT 1 - half AS half, treatment, avg(reward) AS mean FROM compared "
        "WHERE treatment <> '' GROUP BY half, treatment",
    )
    queries.define_view(
        "messages_of_both", f"{_message_chances('own')} UNION ALL {_message_chances('other')}"
    )
    queries.define(
        "own_worth",
        f"""
        SELECT s.customer, fsum(s.chance * {_MEAN} + s.weight * (s.reward - {_MEAN})) AS worth
        FROM messages_of_both AS s {_MEANS_JOIN} WHERE s.side = 'own' GROUP BY s.customer
        """,
    )
    queries.define(
        "expected",
        """
        SELECT side, offer, channel, fsum(chance) AS chances FROM messages_of_both
        GROUP BY side, offer, channel
        """,
    )


_MEAN: Final = "coalesce(m.mean, o.mean)"
_MEANS_JOIN: Final = """
LEFT JOIN means AS m ON s.half = m.half AND s.treatment = m.treatment
JOIN overall AS o ON s.half = o.half
"""


def _message_chances(side: str, condition: str = "TRUE") -> str:
    """Return the query of the chances of each message of a configuration (`own` or `other`);
    `weight`: of the log's choice, 0 for other messages."""
    weight = "own_weight" if side == "own" else "weight"
    return f"""
        SELECT '{side}' AS side, c.slot_id, c.customer, c.half, c.reward, c.treatment, c.chance,
            CASE WHEN c.treatment = c.logged_treatment THEN c.logged_weight ELSE 0.0 END AS weight,
            coalesce(n.offer, c.treatment) AS offer, coalesce(n.channel, '') AS channel
        FROM (
            SELECT slot_id, customer, half, reward, treatment AS logged_treatment,
                {weight} AS logged_weight, unnest(map_keys({side})) AS treatment,
                unnest(map_values({side})) AS chance
            FROM compared WHERE {condition}
        ) AS c LEFT JOIN {side}_names AS n ON c.treatment = n.treatment
        WHERE c.treatment <> ''
    """


def load_changes(queries: Queries) -> None:
    """Load `changes`: the gain of each message in the slots in which the configurations differ."""
    difference_condition = "own <> other OR own_weight <> weight"
    queries.define(
        "changes",
        f"""
        SELECT s.slot_id, s.customer, s.offer, s.channel,
            s.chance * {_MEAN} + s.weight * (s.reward - {_MEAN}) AS gain
        FROM (
            SELECT slot_id, customer, half, reward, treatment, offer, channel,
                sum(CASE WHEN side = 'own' THEN -chance ELSE chance END) AS chance,
                sum(CASE WHEN side = 'own' THEN -weight ELSE weight END) AS weight
            FROM (
                {_message_chances("own", difference_condition)}
                UNION ALL {_message_chances("other", difference_condition)}
            )
            GROUP BY slot_id, customer, half, reward, treatment, offer, channel
        ) AS s {_MEANS_JOIN}
        WHERE s.chance <> 0 OR s.weight <> 0
        """,
    )
