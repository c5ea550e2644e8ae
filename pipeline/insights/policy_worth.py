"""Worth of a configuration, estimated from the decisions and outcomes of another one.

The log's choices were drawn with logged probabilities, and a replay gives the probabilities of the
same choices under the other configuration. Choices that the other configuration makes more often
get a larger weight, and those that it makes less often a smaller one (IPS, self-normalised IPS,
doubly robust).

If the log's own configuration was replayed too, the gain is over that replay, not over the log: a
replay processes outcomes in another order than agents did, which would look like a gain. So an
unchanged configuration has a gain of exactly 0.

A message is worth its value, if the customer reached its campaign's goal within the window or a
conversion was reported for it, less its cost; no message is worth 0. Each slot is evaluated by
itself, with the customer's history as logged; of a placement with several places, only the first.

An offer's gain is the change in the worth of its own messages, so that the gains of all offers add
up to the gain of all slots, as the gains of all channels do: where a message replaces another, the
first gains and the second loses. A segment's gain is per slot of its customers.

Slots stay in the tables of the engine, which spill to disk; only sums are read.
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

from pipeline.insights.campaign_facts import Period
from pipeline.insights.engines import Queries
from pipeline.insights.off_policy import Estimate, OffPolicy, estimate_mean
from pipeline.insights.policy_slots import (
    Replays,
    load_changes,
    load_compared_slots,
    load_expected_choices,
)
from pipeline.insights.ranking import rank_key

_MIN_CUSTOMERS: Final = 30
_MAX_NAMES: Final = 200

_UNKNOWN: Final = Estimate(None, None, None)
_ExpectedNumbers: TypeAlias = dict[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class SegmentGain:
    """Gain per slot among customers who were in the segment at the decision."""

    segment: str
    slots: int
    gain: Estimate


@dataclass(frozen=True, slots=True)
class MessageGain:
    """Gain in all slots by the messages of an offer or a channel (`name`). `before`, `after`: their
    expected numbers under the log's configuration (by its replay, or else by the log) and under the
    other configuration."""

    name: str
    before: float
    after: float
    gain: Estimate


@dataclass(frozen=True, slots=True)
class PolicyWorth:
    """Estimate of another configuration's worth, per slot.

    `slots`, `customers`: numbers of compared slots, whose choice was drawn or is the same under
    both configurations, and of their customers. `ran`: mean worth of the log's choices; `replayed`:
    of a replay of the log's configuration, if there is one (doubly robust); `other`: of the other
    configuration; `gain`: `other` minus `replayed`, or else minus `ran` (doubly robust); `total`:
    gain of all slots. `covered`: share of the other configuration's choices that the log could have
    made too, 1 if none is new; `undrawn`: slots without a draw whose choice the other configuration
    changes, for which the log has no evidence; `unfinished`: slots whose goals' windows are not
    over; `unplayed`: slots of decisions that the replay did not make."""

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
    segments: tuple[SegmentGain, ...] = ()
    offers: tuple[MessageGain, ...] = ()
    channels: tuple[MessageGain, ...] = ()


def estimate_worth(
    queries: Queries, replays: Replays, period: Period, log_ends_ms: int
) -> PolicyWorth:
    """Estimate the worth of a configuration from the log's decisions of a period. The log's facts
    and goals must be loaded."""
    load_compared_slots(queries, replays, period, log_ends_ms)
    sums = _sums(queries)
    if sums.customers < _MIN_CUSTOMERS:
        return _unknown_worth(queries, sums)
    load_expected_choices(queries)
    load_changes(queries)
    return _worth(queries, sums, is_own_replay=replays.own is None)


@dataclass(frozen=True, slots=True)
class _Sums:
    """Sums over the slots that can be compared, and numbers of the slots left out. A weight is the
    probability of the log's choice under the other configuration ÷ its logged probability."""

    slots: int
    customers: int
    rewards: float
    weights: float
    weight_squares: float
    weighted_rewards: float
    undrawn_slots: int
    unfinished_slots: int
    unplayed_slots: int


def _sums(queries: Queries) -> _Sums:
    [left_out] = queries.rows(
        "SELECT count(*) FILTER (finished AND played AND is_undrawn), "
        "count(*) FILTER (NOT finished), count(*) FILTER (finished AND NOT played) FROM slots"
    )
    [row] = queries.rows(
        """
        SELECT count(*), count(DISTINCT customer), coalesce(fsum(reward), 0.0),
            coalesce(fsum(weight), 0.0), coalesce(fsum(weight * weight), 0.0),
            coalesce(fsum(weight * reward), 0.0)
        FROM compared
        """
    )
    return _Sums(*row, *left_out)


def _unknown_worth(queries: Queries, sums: _Sums) -> PolicyWorth:
    """Return the worth without estimates of gains, for too few customers."""
    ran = _UNKNOWN
    if sums.slots:
        queries.define("by_customer", _BY_CUSTOMER.format(tables="", columns=""))
        ran = _mean(queries, sums, "reward", sums.rewards / sums.slots)
    return PolicyWorth(
        sums.slots, sums.customers, ran, None, None, _UNKNOWN, _UNKNOWN, None,
        sums.undrawn_slots, sums.unfinished_slots, sums.unplayed_slots,
    )  # fmt: skip


_BY_CUSTOMER: Final = """
SELECT c.* {columns}
FROM (
    SELECT customer, count(*) AS slots, fsum(reward) AS reward, fsum(weight) AS weight,
        fsum(weight * reward) AS weighted
    FROM compared GROUP BY customer
) AS c {tables}
"""


def _worth(queries: Queries, sums: _Sums, *, is_own_replay: bool) -> PolicyWorth:
    queries.define(
        "by_customer",
        _BY_CUSTOMER.format(
            columns=", coalesce(o.worth, 0.0) AS own, coalesce(g.gain, 0.0) AS gain",
            tables="""
            LEFT JOIN (SELECT customer, fsum(worth) AS worth FROM own_worth GROUP BY customer) AS o
                ON c.customer = o.customer
            LEFT JOIN (SELECT customer, fsum(gain) AS gain FROM changes GROUP BY customer) AS g
                ON c.customer = g.customer
            """,
        ),
    )
    [(own_worth, gain)] = queries.rows("SELECT fsum(own), fsum(gain) FROM by_customer")
    slots = sums.slots
    mean_gain = _mean(queries, sums, "gain", gain / slots)
    return PolicyWorth(
        slots=slots,
        customers=sums.customers,
        ran=_mean(queries, sums, "reward", sums.rewards / slots),
        replayed=None if is_own_replay else _mean(queries, sums, "own", own_worth / slots),
        other=_other_worth(queries, sums, (own_worth + gain) / slots),
        gain=mean_gain,
        total=_multiply(mean_gain, slots),
        covered=min(sums.weights / slots, 1.0),
        undrawn=sums.undrawn_slots,
        unfinished=sums.unfinished_slots,
        unplayed=sums.unplayed_slots,
        segments=_segment_gains(queries),
        offers=_message_gains(queries, sums, "offer"),
        channels=_message_gains(queries, sums, "channel"),
    )


def _other_worth(queries: Queries, sums: _Sums, doubly_robust: float) -> OffPolicy:
    weights, squares = sums.weights, sums.weight_squares
    snips = _UNKNOWN
    if weights:
        value = sums.weighted_rewards / weights
        deviation = _mean(
            queries, sums, f"(weighted - {value!r} * weight) * {sums.slots / weights!r}", 0.0
        )
        snips = Estimate(value, _add(value, deviation.low), _add(value, deviation.high))
    return OffPolicy(
        n=sums.slots,
        ess=weights**2 / squares if squares else 0.0,
        ips=_mean(queries, sums, "weighted", sums.weighted_rewards / sums.slots),
        snips=snips,
        dr=_mean(queries, sums, "own + gain", doubly_robust),
    )


def _add(value: float, addend: float | None) -> float | None:
    return None if addend is None else value + addend


def _mean(queries: Queries, sums: _Sums, sql: str, value: float) -> Estimate:
    """Return a mean per slot with its interval; `sql`: a customer's sum."""
    [(squares,)] = queries.rows(
        f"SELECT fsum(pow(({sql}) - {value!r} * slots, 2)) FROM by_customer"
    )
    return estimate_mean(value, sums.slots, squares, sums.customers)


def _segment_gains(queries: Queries) -> tuple[SegmentGain, ...]:
    rows = queries.rows(
        f"""
        WITH inside AS (
            SELECT entry.segment AS segment, entry.customer AS customer, count(*) AS slots,
                fsum(coalesce(g.gain, 0.0)) AS gain
            FROM (SELECT slot_id, customer, unnest(members) AS segment FROM compared) AS entry
            LEFT JOIN (SELECT slot_id, fsum(gain) AS gain FROM changes GROUP BY slot_id) AS g
                ON entry.slot_id = g.slot_id
            GROUP BY entry.segment, entry.customer
        ), of_segment AS (
            SELECT segment, sum(slots) AS slots, count(*) AS customers,
                fsum(gain) / sum(slots) AS mean
            FROM inside GROUP BY segment ORDER BY segment LIMIT {_MAX_NAMES}
        )
        SELECT s.segment, any_value(s.slots), any_value(s.customers), any_value(s.mean),
            fsum(pow(i.gain - s.mean * i.slots, 2))
        FROM of_segment AS s JOIN inside AS i ON s.segment = i.segment
        WHERE s.customers >= {_MIN_CUSTOMERS} GROUP BY s.segment ORDER BY s.segment
        """
    )
    return tuple(
        SegmentGain(name, int(slots), estimate_mean(value, int(slots), squares, customers))
        for name, slots, customers, value, squares in rows
    )


def _message_gains(queries: Queries, sums: _Sums, column: str) -> tuple[MessageGain, ...]:
    """Return the gains by the messages of each offer or channel (`column`), the largest changes
    first. An unchanged slot has a gain of 0 and counts in the intervals."""
    slots = sums.slots
    expected: _ExpectedNumbers = {
        name: (before, after)
        for name, before, after in queries.rows(
            f"""
            SELECT {column}, fsum(CASE WHEN side = 'own' THEN chances ELSE 0.0 END),
                fsum(CASE WHEN side = 'other' THEN chances ELSE 0.0 END)
            FROM expected GROUP BY {column}
            """
        )
    }
    change_rows = queries.rows(
        f"""
        WITH inside AS (
            SELECT {column} AS name, customer, fsum(gain) AS gain FROM changes
            GROUP BY {column}, customer
        ), totals AS (
            SELECT name, fsum(gain) AS total, count(*) AS customers FROM inside GROUP BY name
        )
        SELECT t.name, any_value(t.total), any_value(t.customers),
            fsum(pow(i.gain - t.total / {slots} * c.slots, 2))
                + pow(any_value(t.total) / {slots}, 2)
                * ((SELECT sum(slots * slots) FROM by_customer) - sum(c.slots * c.slots))
        FROM totals AS t JOIN inside AS i ON t.name = i.name
        JOIN by_customer AS c ON i.customer = c.customer
        GROUP BY t.name
        """
    )
    gains = {
        name: _multiply(estimate_mean(total / slots, slots, squares, sums.customers), slots)
        if customers >= _MIN_CUSTOMERS
        else _UNKNOWN
        for name, total, customers, squares in change_rows
    }
    zero = Estimate(0.0, None, None)
    rows = [
        MessageGain(name, before, after, gains.get(name, zero))
        for name, (before, after) in expected.items()
    ]
    rows.sort(key=lambda row: (-rank_key(abs(row.gain.value or 0.0)), row.name))
    return tuple(rows[:_MAX_NAMES])


def _multiply(estimate: Estimate, factor: int) -> Estimate:
    return Estimate(
        *(None if x is None else x * factor for x in (estimate.value, estimate.low, estimate.high))
    )
