"""Worth of a configuration, estimated from what another one decided and what came of it.

The log's choices were drawn with known probabilities, and a replay says with which probabilities
the other configuration would have made them. What it would rather have said counts more, and what
it would have said less often counts less (IPS, self-normalised IPS, doubly robust).

Where the log's own configuration was replayed too, the gain is over that replay, not over the log.
A replay meets outcomes in another order than agents did, which would look like a gain otherwise; so
an unchanged configuration gains exactly nothing.

A message is worth its value where the customer reached its campaign's goal within the window, or a
conversion was reported of it, less its cost; saying nothing is worth 0. Each slot is looked at by
itself, with the customer's history as it was; of a placement its first place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
_ALIKE: Final = 1e-9
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
    mean worth of what was said; `replayed`: of what a replay of the log's configuration says, where
    there is one (doubly robust); `other`: of what the other would say; `gain`: how much more that
    is than what was replayed, or else than what was said (doubly robust), `total` of all slots.
    `covered`: share of what the other would say that the log could have said too, 1 where nothing
    is new; `undrawn`: slots that it would change and in which nothing was drawn, of which the log
    can tell nothing; `unfinished`: slots whose goals' windows are not over; `unplayed`: slots of
    decisions that the replay did not make.
    """

    slots: int
    customers: int
    ran: Estimate
    replayed: Estimate | None
    other: OffPolicy | None
    gain: Estimate
    total: Estimate
    covered: float | None
    undrawn: int
    unfinished: int
    unplayed: int
    segments: tuple[SegmentGain, ...]


@dataclass(frozen=True, slots=True)
class Replays:
    """Files of decisions with their chances: of the `other` configuration, and of the log's own
    where that was replayed."""

    other: Path
    own: Path | None = None


def estimate_worth(
    queries: Queries, replays: Replays, decided: Period, log_ends_ms: int
) -> PolicyWorth:
    """Estimate the worth of a configuration by the log's decisions of a time. The log's facts and
    goals are loaded."""
    _load_logged(queries)
    _load_replay(queries, "other", replays.other)
    queries.define(
        "played", "SELECT decision_id, any_value(segments) AS members FROM other_rows GROUP BY 1"
    )
    if replays.own is None:
        _load_log_as_replay(queries)
    else:
        _load_replay(queries, "own", replays.own)
    _load_slots(queries, decided, log_ends_ms)
    [(unfinished, unplayed)] = queries.rows(
        "SELECT count(*) FILTER (NOT finished), count(*) FILTER (finished AND NOT played) "
        "FROM slots"
    )
    found = queries.arrow(
        """
        SELECT dense_rank() OVER (ORDER BY customer) - 1 AS person, reward,
            propensity, treatment, own, other, members
        FROM slots WHERE finished AND played ORDER BY customer, decision_id, slot
        """
    )
    propensity, said = _floats(found, "propensity"), found.column("treatment").to_pylist()
    own = _policy(found, "own", said, np.ones(len(said)) if replays.own is None else propensity)
    other = _policy(found, "other", said, propensity)
    changed = [_differ(*both) for both in zip(own.chances, other.chances, strict=True)]
    undrawn = (propensity >= _SURE) & np.array(changed, dtype=bool)
    rows = _Slots(
        customers=np.array(found.column("person").to_numpy(), dtype=np.int64),
        rewards=_floats(found, "reward"),
        said=said,
        own=own,
        other=other,
        members=[frozenset(one or ()) for one in found.column("members").to_pylist()],
    ).take(~undrawn)
    worth = _worth(rows, _LeftOut(int(undrawn.sum()), int(unfinished), int(unplayed)))
    return worth if replays.own is not None else replace(worth, replayed=None)


def _differ(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    return any(abs(one.get(x, 0.0) - other.get(x, 0.0)) > _ALIKE for x in {*one, *other})


@dataclass(frozen=True, slots=True)
class _LeftOut:
    undrawn: int
    unfinished: int
    unplayed: int


@dataclass(frozen=True, slots=True, eq=False)
class _Policy:
    """Policy of a configuration, one entry for each slot: `chances` by treatment ("": nothing);
    `weights`: how much likelier than the log it says what the log said."""

    chances: Sequence[Mapping[str, float]]
    weights: Floats

    def take(self, places: Ints) -> "_Policy":
        return _Policy([self.chances[one] for one in places.tolist()], self.weights[places])


def _policy(found: Any, name: str, said: Sequence[str], propensity: Floats) -> _Policy:
    chances = [dict(one) for one in found.column(name).to_pylist()]
    again = [one.get(treatment, 0.0) for one, treatment in zip(chances, said, strict=True)]
    return _Policy(chances, np.array(again, dtype=np.float64) / propensity)


@dataclass(frozen=True, slots=True, eq=False)
class _Slots:
    """Slots that can be compared, one entry each; `said`: what the log said there."""

    customers: Ints
    rewards: Floats
    said: Sequence[str]
    own: _Policy
    other: _Policy
    members: Sequence[frozenset[str]]

    def take(self, which: Any) -> "_Slots":
        places = np.flatnonzero(which)
        _, customers = np.unique(self.customers[places], return_inverse=True)
        rows = places.tolist()
        return _Slots(
            customers.astype(np.int64),
            self.rewards[places],
            [self.said[one] for one in rows],
            self.own.take(places),
            self.other.take(places),
            [self.members[one] for one in rows],
        )


def _worth(rows: _Slots, left_out: _LeftOut) -> PolicyWorth:
    size = len(rows.rewards)
    people = len(np.unique(rows.customers))
    unknown = Estimate(None, None, None)
    if people < _FEWEST_CUSTOMERS:
        ran = mean(rows.rewards, rows.customers) if size else unknown
        return PolicyWorth(
            size, people, ran, None, None, unknown, unknown, None,
            left_out.undrawn, left_out.unfinished, left_out.unplayed, (),
        )  # fmt: skip
    expected = _Expected.of(rows)
    own, other = (expected.judge(rows, policy) for policy in (rows.own, rows.other))
    log = Log(
        rows.rewards, rows.other.weights, expected.logged, expected.by(rows.other), rows.customers
    )
    gain = mean(other - own, rows.customers)
    return PolicyWorth(
        slots=size,
        customers=people,
        ran=mean(rows.rewards, rows.customers),
        replayed=mean(own, rows.customers),
        other=evaluate(log),
        gain=gain,
        total=_times(gain, size),
        covered=min(float(rows.other.weights.mean()), 1.0),
        undrawn=left_out.undrawn,
        unfinished=left_out.unfinished,
        unplayed=left_out.unplayed,
        segments=_by_segment(rows, other - own),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Expected:
    """Expected worth of messages: the mean worth of a treatment, for half of the customers by the
    other half's messages, so that no message foretells itself; of one that they never got, the mean
    of all messages. `logged`: that of what the log said."""

    half: Ints
    code: Mapping[str, int]
    means: Floats
    logged: Floats

    @classmethod
    def of(cls, rows: _Slots) -> "_Expected":
        """Return the means of these slots' messages."""
        would = {
            name for policy in (rows.own, rows.other) for one in policy.chances for name in one
        }
        names = sorted({*rows.said, *would} - {""})
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
        return cls(half, code, means, means[half, said])

    def by(self, policy: _Policy) -> Floats:
        """Return the expected worth of what a policy says in each slot."""
        found = [
            sum(chance * self.means[one, self.code[name]] for name, chance in chances.items())
            for one, chances in zip(self.half, policy.chances, strict=True)
        ]
        return np.array(found, dtype=np.float64)

    def judge(self, rows: _Slots, policy: _Policy) -> Floats:
        """Return the doubly robust terms of a policy's mean worth."""
        return self.by(policy) + policy.weights * (rows.rewards - self.logged)


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


def _load_replay(queries: Queries, name: str, file: Path) -> None:
    """Load the chances in the slots of a replay's decisions: of one that was not
    drawn it is 1."""
    queries.view(f"{name}_rows", f"SELECT * FROM read_parquet({sql_text(str(file))})")
    queries.define(
        f"{name}_slots",
        f"""
        SELECT decision_id, slot, coalesce(chances, MAP {{coalesce(treatment, ''): 1.0::DOUBLE}})
            AS chances
        FROM {name}_rows WHERE channel IS NOT NULL AND NOT contains(slot, '#')
        """,
    )


def _load_log_as_replay(queries: Queries) -> None:
    queries.define(
        "own_slots", "SELECT decision_id, slot, MAP {treatment: 1.0::DOUBLE} AS chances FROM logged"
    )


def _load_slots(queries: Queries, decided: Period, log_ends_ms: int) -> None:
    """Load `slots`: what the log said in each, what it was worth, and the chances of what both
    configurations say. In a slot that one of them did not open it said nothing."""
    [(longest,)] = queries.rows("SELECT coalesce(max(window_ms), 0) FROM windows")
    since = 0 if decided.since_ms is None else decided.since_ms
    until = log_ends_ms + 1 if decided.until_ms is None else decided.until_ms
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
            d.at_ms + {int(longest)} <= {log_ends_ms} AS finished
        FROM opened AS o JOIN decided AS d ON o.decision_id = d.decision_id
        LEFT JOIN played AS p ON o.decision_id = p.decision_id
        LEFT JOIN rewards AS r ON o.action_id = r.action_id
        WHERE d.at_ms >= {since} AND d.at_ms < {until}
        """,
    )


def _floats(found: Any, name: str) -> Floats:
    return np.array(found.column(name).to_numpy(), dtype=np.float64)
