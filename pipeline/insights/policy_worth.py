"""Worth of a configuration, estimated from what another one decided and what came of it.

The log's choices were drawn with known probabilities, and a replay says with which probabilities
the other configuration would have made them. What it would rather have said counts more, and what
it would have said less often counts less (IPS, self-normalised IPS, doubly robust).

A message is worth its value where the customer reached its campaign's goal within the window, or a
conversion was reported of it, less its cost; saying nothing is worth 0. Each slot is looked at by
itself, with the customer's history as it was; of a placement its first place.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from pipeline.insights.campaign_facts import Period
from pipeline.insights.engines import Queries
from pipeline.insights.off_policy import Estimate, Log, OffPolicy, evaluate, mean
from pipeline.insights.paths import Floats, Ints, sum_by
from pipeline.insights.tables import sql_text

_FEWEST_CUSTOMERS: Final = 30
_SURE: Final = 1.0 - 1e-9
_MOST_SEGMENTS: Final = 200


@dataclass(frozen=True, slots=True)
class SegmentGain:
    """Gain per slot among customers who were in the segment then."""

    segment: str
    slots: int
    gain: Estimate


@dataclass(frozen=True, slots=True)
class PolicyWorth:
    """Estimate of what another configuration is worth, per slot.

    `slots` of so many `customers` can be compared: chance drew there, or both say the same. `ran`:
    mean worth of what was said; `other`: of what the other would say; `gain`: their difference
    (doubly robust), `total` of all slots. `covered`: share of what the other would say that the log
    could have said too, 1 where nothing is new; `undrawn`: slots that it would change and in which
    nothing was drawn, of which the log can tell nothing; `unfinished`: slots whose goals' windows
    are not over; `unplayed`: slots of decisions that the replay did not make.
    """

    slots: int
    customers: int
    ran: Estimate
    other: OffPolicy | None
    gain: Estimate
    total: Estimate
    covered: float | None
    undrawn: int
    unfinished: int
    unplayed: int
    segments: tuple[SegmentGain, ...]


def estimate_worth(
    queries: Queries, played: Path, decided: Period, log_ends_ms: int
) -> PolicyWorth:
    """Estimate the worth of the configuration that made the decisions in the file `played`, with
    their chances, by the log's decisions of a time. The log's facts and goals are loaded."""
    _load_logged(queries)
    _load_played(queries, played)
    _load_slots(queries, decided, log_ends_ms)
    [(unfinished, unplayed)] = queries.rows(
        "SELECT count(*) FILTER (NOT finished), count(*) FILTER (finished AND NOT played) "
        "FROM slots"
    )
    found = queries.arrow(
        """
        SELECT dense_rank() OVER (ORDER BY customer) - 1 AS person, reward,
            propensity, chance, treatment, chances, members
        FROM slots WHERE finished AND played ORDER BY customer, decision_id, slot
        """
    )
    propensity, chance = _floats(found, "propensity"), _floats(found, "chance")
    undrawn = (propensity >= _SURE) & (chance < _SURE)
    rows = _Slots(
        customers=np.array(found.column("person").to_numpy(), dtype=np.int64),
        rewards=_floats(found, "reward"),
        weights=chance / propensity,
        said=found.column("treatment").to_pylist(),
        would_say=[dict(one) for one in found.column("chances").to_pylist()],
        members=[frozenset(one or ()) for one in found.column("members").to_pylist()],
    ).take(~undrawn)
    return _worth(rows, _LeftOut(int(undrawn.sum()), int(unfinished), int(unplayed)))


@dataclass(frozen=True, slots=True)
class _LeftOut:
    undrawn: int
    unfinished: int
    unplayed: int


@dataclass(frozen=True, slots=True, eq=False)
class _Slots:
    """Slots that can be compared, one entry each; `said`: what the log said there ("": nothing),
    `would_say`: the probabilities of what the other configuration would say."""

    customers: Ints
    rewards: Floats
    weights: Floats
    said: Sequence[str]
    would_say: Sequence[dict[str, float]]
    members: Sequence[frozenset[str]]

    def take(self, which: Any) -> "_Slots":
        places = np.flatnonzero(which)
        _, customers = np.unique(self.customers[places], return_inverse=True)
        rows = places.tolist()
        return _Slots(
            customers.astype(np.int64),
            self.rewards[places],
            self.weights[places],
            [self.said[one] for one in rows],
            [self.would_say[one] for one in rows],
            [self.members[one] for one in rows],
        )


def _worth(rows: _Slots, left_out: _LeftOut) -> PolicyWorth:
    size = len(rows.rewards)
    people = len(np.unique(rows.customers))
    unknown = Estimate(None, None, None)
    if people < _FEWEST_CUSTOMERS:
        ran = mean(rows.rewards, rows.customers) if size else unknown
        return PolicyWorth(
            size, people, ran, None, unknown, unknown, None,
            left_out.undrawn, left_out.unfinished, left_out.unplayed, (),
        )  # fmt: skip
    q_logged, q_target = _expect_worth(rows)
    log = Log(rows.rewards, rows.weights, q_logged, q_target, rows.customers)
    gains = q_target + rows.weights * (rows.rewards - q_logged) - rows.rewards
    gain = mean(gains, rows.customers)
    return PolicyWorth(
        slots=size,
        customers=people,
        ran=mean(rows.rewards, rows.customers),
        other=evaluate(log),
        gain=gain,
        total=_times(gain, size),
        covered=min(float(rows.weights.mean()), 1.0),
        undrawn=left_out.undrawn,
        unfinished=left_out.unfinished,
        unplayed=left_out.unplayed,
        segments=_by_segment(rows, gains),
    )


def _expect_worth(rows: _Slots) -> tuple[Floats, Floats]:
    """Return the expected worth of what was said, and of what would be said in its place.

    It is the mean worth of a treatment, for half of the customers by the other half's messages, so
    that no message foretells itself; of one that they never got, the mean of all messages.
    """
    names = sorted({*rows.said, *(name for one in rows.would_say for name in one)} - {""})
    code = {"": 0, **{name: place for place, name in enumerate(names, start=1)}}
    said = np.array([code[one] for one in rows.said], dtype=np.int64)
    half = rows.customers % 2
    means = np.zeros((2, len(code)))
    for one in (0, 1):
        others = (half != one) & (said > 0)
        counts = sum_by(said[others], np.ones(int(others.sum())), len(code))
        sums = sum_by(said[others], rows.rewards[others], len(code))
        overall = float(rows.rewards[others].mean()) if others.any() else 0.0
        means[one] = np.divide(sums, counts, out=np.full(len(code), overall), where=counts > 0)
    means[:, 0] = 0.0
    target = [
        sum(chance * means[one, code[name]] for name, chance in would.items())
        for one, would in zip(half, rows.would_say, strict=True)
    ]
    return means[half, said], np.array(target, dtype=np.float64)


def _by_segment(rows: _Slots, gains: Floats) -> tuple[SegmentGain, ...]:
    found = []
    names = sorted({name for one in rows.members for name in one})
    for name in names[:_MOST_SEGMENTS]:
        inside = np.flatnonzero([name in one for one in rows.members])
        people, customers = np.unique(rows.customers[inside], return_inverse=True)
        if len(people) >= _FEWEST_CUSTOMERS:
            gain = mean(gains[inside], customers.astype(np.int64))
            found.append(SegmentGain(name, len(inside), gain))
    return tuple(found)


def _times(one: Estimate, factor: int) -> Estimate:
    return Estimate(*(None if x is None else x * factor for x in (one.value, one.low, one.high)))


def _load_logged(queries: Queries) -> None:
    """Load `logged`, the log's choices, and `rewards`, what its messages were worth."""
    queries.define(
        "logged",
        """
        SELECT decision_id, one.slot AS slot, coalesce(one.treatment, '') AS treatment,
            one.action_id AS action_id, one.propensity AS propensity
        FROM (SELECT decision_id, unnest(choices) AS one FROM decided)
        WHERE NOT contains(one.slot, '#')
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


def _load_played(queries: Queries, played: Path) -> None:
    """Load the replay's decisions, and the chances in their slots: of a choice that was not drawn
    it is 1."""
    queries.view("played", f"SELECT * FROM read_parquet({sql_text(str(played))})")
    queries.define(
        "played_decisions",
        "SELECT decision_id, any_value(segments) AS members FROM played GROUP BY decision_id",
    )
    queries.define(
        "played_slots",
        """
        SELECT decision_id, slot, coalesce(chances, MAP {coalesce(treatment, ''): 1.0::DOUBLE})
            AS chances
        FROM played WHERE channel IS NOT NULL AND NOT contains(slot, '#')
        """,
    )


def _load_slots(queries: Queries, decided: Period, log_ends_ms: int) -> None:
    """Load `slots`: what the log said in each, what it was worth, and with which chance the other
    configuration would have said it. In a slot that one of them did not open it said nothing."""
    [(longest,)] = queries.rows("SELECT coalesce(max(window_ms), 0) FROM windows")
    since = 0 if decided.since_ms is None else decided.since_ms
    until = log_ends_ms + 1 if decided.until_ms is None else decided.until_ms
    queries.define(
        "slots",
        f"""
        WITH opened AS (
            SELECT coalesce(l.decision_id, p.decision_id) AS decision_id,
                coalesce(l.slot, p.slot) AS slot, coalesce(l.treatment, '') AS treatment,
                l.action_id AS action_id, coalesce(l.propensity, 1.0) AS propensity,
                coalesce(p.chances, MAP {{'': 1.0::DOUBLE}}) AS chances
            FROM logged AS l FULL JOIN played_slots AS p
                ON l.decision_id = p.decision_id AND l.slot = p.slot
        )
        SELECT d.customer, o.decision_id, o.slot, o.treatment, o.propensity, o.chances,
            coalesce(o.chances[o.treatment], 0.0) AS chance,
            coalesce(r.reward, 0.0) AS reward, p.members, p.decision_id IS NOT NULL AS played,
            d.at_ms + {int(longest)} <= {log_ends_ms} AS finished
        FROM opened AS o JOIN decided AS d ON o.decision_id = d.decision_id
        LEFT JOIN played_decisions AS p ON o.decision_id = p.decision_id
        LEFT JOIN rewards AS r ON o.action_id = r.action_id
        WHERE d.at_ms >= {since} AND d.at_ms < {until}
        """,
    )


def _floats(found: Any, name: str) -> Floats:
    return np.array(found.column(name).to_numpy(), dtype=np.float64)
