"""Statistics of campaigns: counts, rates with intervals, and lift over holdouts.

Messages are counted by the time of their decision, together with their outcomes, whenever these
were reported. A message counts in every segment that its customer was in at its decision.

*Lift* compares customers by the arm that was drawn for them, whether or not their messages arrived.
A customer enters with the first decision that chose a message of the campaign (or offer, or
channel), even if it was held out, and converts by the goal within the campaign's window. Customers
whose window is not over are not counted. In the lift of a holdout as a whole, every customer enters
when drawn.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, Literal, TypeAlias

from scipy.stats import binomtest

from pipeline.insights.campaign_facts import FactsSupport
from pipeline.insights.engines import Queries
from pipeline.insights.goals import CampaignGoal, UnreadableGoal
from pipeline.insights.intervals import (
    ArmSums,
    ClusterSums,
    Difference,
    RateInterval,
    conversion_difference,
    rate,
    value_difference,
)
from pipeline.model.budget import BudgetStatus
from pipeline.model.time import DAY_MS

Dimension: TypeAlias = Literal["campaign", "offer", "channel", "segment", "day"]
Verdict: TypeAlias = Literal[
    "works", "harms", "not known yet", "too few customers", "not comparable"
]

_COUNTS: Final = (
    "decided", "held", "sent", "delivered", "impression", "click", "dismiss", "conversion",
    "bounce", "complaint", "expired",
)  # fmt: skip
_RATES: Final = {
    "seen": ("seen", "decided"),
    "clicked": ("clicked", "seen"),
    "dismissed": ("dismiss", "seen"),
    "converted": ("conversion", "decided"),
}
_NO_GOAL_REASON: Final = "its goal is not known"
_NO_HOLDOUT_REASON: Final = "no customer was held out"
_MIN_BALANCE_P: Final = 0.001
"""Chance of two arms' sizes below which these contradict the holdout's share."""


@dataclass(frozen=True, slots=True)
class CampaignFigures:
    """Figures of all messages with these values of the dimensions (None: with any value).

    `worth`: value of the conversions by the configuration; `revenue`: value reported with them;
    both and `cost` in the configuration's currency.
    """

    campaign: str | None
    offer: str | None
    channel: str | None
    segment: str | None
    day: str | None
    customers: int
    decided: int
    held: int
    sent: int
    delivered: int
    impressions: int
    clicks: int
    dismissals: int
    conversions: int
    bounces: int
    complaints: int
    expired: int
    revenue: float
    worth: float
    cost: float
    seen_rate: RateInterval
    click_rate: RateInterval
    dismiss_rate: RateInterval
    conversion_rate: RateInterval


@dataclass(frozen=True, slots=True)
class LiftArm:
    """Customers who entered, the number and `share` of those who converted, and the value of
    all."""

    customers: int
    converted: int
    share: float | None
    value: float


@dataclass(frozen=True, slots=True)
class Lift:
    """Lift of messages over a holdout; `campaign` None: of all messages that the holdout covers.

    `against`: what customers held out got: nothing, or (at least some of them) the next best
    message; `relative`: difference in conversion divided by the share of those held out;
    `extra_conversions`: difference times the number of treated customers; `balance_p`: chance of
    arms of these sizes under the draw.
    """

    holdout: str
    campaign: str | None
    offer: str | None
    channel: str | None
    against: Literal["nothing", "next best"]
    window_ms: int
    treated: LiftArm
    held: LiftArm
    conversion: Difference | None
    value: Difference | None
    relative: float | None
    extra_conversions: Difference | None
    balance_p: float | None
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class CampaignStatistics:
    """Statistics of all messages (`total`) and by dimension; `items`: by campaign, offer and
    channel; `without_lift`: campaigns without a measurable lift, each with the reason; `budgets`:
    of the campaigns that have one, for its running period, as far as they are known."""

    support: FactsSupport
    total: CampaignFigures
    campaigns: tuple[CampaignFigures, ...]
    offers: tuple[CampaignFigures, ...]
    channels: tuple[CampaignFigures, ...]
    segments: tuple[CampaignFigures, ...]
    days: tuple[CampaignFigures, ...]
    items: tuple[CampaignFigures, ...]
    lifts: tuple[Lift, ...]
    without_lift: dict[str, str]
    budgets: tuple[BudgetStatus, ...] = ()


def campaign_statistics(
    queries: Queries, support: FactsSupport, goals: Iterable[CampaignGoal | UnreadableGoal]
) -> CampaignStatistics:
    """Return the statistics of the loaded facts and `goals`."""
    reasons = {
        goal.campaign: _NO_HOLDOUT_REASON if isinstance(goal, CampaignGoal) else goal.reason
        for goal in goals
    }
    lifts = _measure_lifts(queries, support.until_ms or 0)
    measured_campaigns = {lift.campaign for lift in lifts}
    (total,) = figures(queries, ())
    campaigns = figures(queries, ("campaign",))
    without_lift = {
        name: reasons.get(name, _NO_GOAL_REASON)
        for name in (campaign.campaign for campaign in campaigns)
        if name is not None and name not in measured_campaigns
    }
    return CampaignStatistics(
        support=support,
        total=total,
        campaigns=campaigns,
        offers=figures(queries, ("campaign", "offer")),
        channels=figures(queries, ("channel",)),
        segments=figures(queries, ("segment",)),
        days=figures(queries, ("day",)),
        items=figures(queries, ("campaign", "offer", "channel")),
        lifts=lifts,
        without_lift=without_lift,
    )


def figures(queries: Queries, dimensions: Sequence[Dimension]) -> tuple[CampaignFigures, ...]:
    """Return the figures by dimensions, sorted by the dimensions' values."""
    keys = "".join(f"{dimension}, " for dimension in dimensions)
    sums = ", ".join(f"sum({name}) AS {name}" for name in (*_COUNTS, "seen", "clicked"))
    squares = ", ".join(
        f"sum({x} * {x}) AS {name}_xx, sum({n} * {n}) AS {name}_nn, sum({x} * {n}) AS {name}_xn"
        for name, (x, n) in _RATES.items()
    )
    memberships_join = (
        "JOIN memberships USING (customer, event_id)" if "segment" in dimensions else ""
    )
    table = queries.arrow(
        f"""
        WITH by_customer AS (
            SELECT {keys} customer, {sums}, sum(revenue) AS revenue, sum(worth) AS worth,
                sum(cost) AS cost
            FROM facts {memberships_join} GROUP BY {keys} customer
        )
        SELECT {keys} sum(CASE WHEN decided > 0 THEN 1 ELSE 0 END) AS customers, {sums},
            sum(revenue) AS revenue, sum(worth) AS worth, sum(cost) AS cost, {squares}
        FROM by_customer {"GROUP BY " + keys.removesuffix(", ") if keys else ""}
        {"ORDER BY " + keys.removesuffix(", ") if keys else ""}
        """
    )
    return tuple(map(_figures, table.to_pylist()))


def _figures(row: dict[str, Any]) -> CampaignFigures:
    count = {name: int(row[name] or 0) for name in (*_COUNTS, "customers", "seen", "clicked")}
    rates = {
        name: rate(
            ClusterSums(
                count["customers"],
                count[x],
                count[n],
                float(row[f"{name}_xx"] or 0),
                float(row[f"{name}_nn"] or 0),
                float(row[f"{name}_xn"] or 0),
            )
        )
        for name, (x, n) in _RATES.items()
    }
    day = row.get("day")
    return CampaignFigures(
        campaign=row.get("campaign"),
        offer=row.get("offer"),
        channel=row.get("channel"),
        segment=row.get("segment"),
        day=None if day is None else iso_day(day),
        customers=count["customers"],
        decided=count["decided"],
        held=count["held"],
        sent=count["sent"],
        delivered=count["delivered"],
        impressions=count["impression"],
        clicks=count["click"],
        dismissals=count["dismiss"],
        conversions=count["conversion"],
        bounces=count["bounce"],
        complaints=count["complaint"],
        expired=count["expired"],
        revenue=float(row["revenue"] or 0),
        worth=float(row["worth"] or 0),
        cost=float(row["cost"] or 0),
        seen_rate=rates["seen"],
        click_rate=rates["clicked"],
        dismiss_rate=rates["dismissed"],
        conversion_rate=rates["converted"],
    )


def iso_day(day: int) -> str:
    """Return a number of days since 1970 as an ISO 8601 date."""
    return datetime.fromtimestamp(day * DAY_MS / 1000, UTC).date().isoformat()


@dataclass(frozen=True, slots=True)
class _HoldoutDraw:
    """Number of customers drawn for a holdout, and of those held out."""

    held_out_count: int
    customer_count: int


@dataclass(frozen=True, slots=True)
class _ArmPair:
    """Arms of a campaign, offer and channel (`keys`); `is_filled`: whether customers held out got
    another message in its place."""

    keys: tuple[str | None, ...]
    holdout: str
    window_ms: int
    is_filled: bool
    treated_arm: ArmSums
    held_arm: ArmSums


def _measure_lifts(queries: Queries, until_ms: int) -> tuple[Lift, ...]:
    _load_triggers(queries)
    draws = {
        holdout: _HoldoutDraw(int(held_out), int(customers))
        for holdout, held_out, customers in queries.rows(
            "SELECT holdout, sum(held), count(*) FROM assigned WHERE conflict = 0 GROUP BY holdout"
        )
    }
    scopes: tuple[tuple[str, ...], ...] = (
        ("campaign",),
        ("campaign", "offer"),
        ("campaign", "offer", "channel"),
    )
    pairs = [*_holdout_pairs(queries, until_ms)]
    for scope in scopes:
        pairs += _scope_pairs(queries, scope, until_ms)
    return tuple(_lift(pair, draws.get(pair.holdout)) for pair in pairs)


def _load_triggers(queries: Queries) -> None:
    """Load `triggers`: the messages that a holdout covers, chosen or held out, of customers with a
    single draw."""
    queries.define(
        "triggers",
        """
        WITH covered AS (
            SELECT DISTINCT holdout, treatment FROM messages WHERE holdout IS NOT NULL
        ), both_arms AS (
            SELECT c.holdout, m.customer, m.at_ms, m.campaign, m.offer, m.channel, 0 AS held,
                0 AS filled
            FROM messages AS m JOIN covered AS c ON m.treatment = c.treatment
            WHERE m.holdout IS NULL
            UNION ALL
            SELECT holdout, customer, at_ms, campaign, offer, channel, 1,
                CASE WHEN filled THEN 1 ELSE 0 END
            FROM messages WHERE holdout IS NOT NULL
        )
        SELECT b.* FROM both_arms AS b
        JOIN assigned AS a ON b.customer = a.customer AND b.holdout = a.holdout
        WHERE a.conflict = 0 AND a.held = b.held
        """,
    )


def _scope_pairs(queries: Queries, scope: Sequence[str], until_ms: int) -> Iterable[_ArmPair]:
    keys = ", ".join(scope)
    entry_columns = ", ".join(f"e.{name}" for name in scope)
    rows = queries.rows(
        f"""
        WITH entries AS (
            SELECT holdout, customer, held, {keys}, min(at_ms) AS at_ms, max(filled) AS filled
            FROM triggers GROUP BY holdout, customer, held, {keys}
        ), matured AS (
            SELECT e.*, w.window_ms FROM entries AS e JOIN windows AS w ON e.campaign = w.campaign
            WHERE e.at_ms + w.window_ms < {until_ms}
        ), results AS (
            SELECT e.holdout, {entry_columns}, e.held, e.window_ms, e.customer, e.filled,
                count(g.at_ms) AS reached, coalesce(sum(g.value), 0.0) AS value
            FROM matured AS e LEFT JOIN goals AS g ON e.customer = g.customer
                AND e.campaign = g.campaign AND g.at_ms > e.at_ms
                AND g.at_ms <= e.at_ms + e.window_ms
            GROUP BY e.holdout, {entry_columns}, e.held, e.window_ms, e.customer, e.filled
        )
        SELECT holdout, {keys}, window_ms, held, max(filled) AS filled, count(*) AS customers,
            sum(CASE WHEN reached > 0 THEN 1 ELSE 0 END) AS converted, sum(value) AS value,
            sum(value * value) AS value_squared
        FROM results GROUP BY holdout, {keys}, window_ms, held ORDER BY holdout, {keys}, held
        """
    )
    width = len(scope)
    return _pair_arms(
        ((*row[1 : 1 + width], *(None,) * (3 - width)), row[0], *row[1 + width :]) for row in rows
    )


def _holdout_pairs(queries: Queries, until_ms: int) -> Iterable[_ArmPair]:
    """Yield the arms of all customers drawn, from their draw on; they convert by the goal of any
    campaign that the holdout covers, within the longest of these campaigns' windows."""
    rows = queries.rows(
        f"""
        WITH covered AS (
            SELECT DISTINCT t.holdout, t.campaign, w.window_ms
            FROM triggers AS t JOIN windows AS w ON t.campaign = w.campaign
        ), longest AS (
            SELECT holdout, max(window_ms) AS window_ms FROM covered GROUP BY holdout
        ), matured AS (
            SELECT a.holdout, a.customer, a.held, a.at_ms, l.window_ms
            FROM assigned AS a JOIN longest AS l ON a.holdout = l.holdout
            WHERE a.conflict = 0 AND a.at_ms + l.window_ms < {until_ms}
        ), reached AS (
            SELECT DISTINCT m.holdout, m.customer, g.at_ms, g.value, g.campaign
            FROM matured AS m JOIN goals AS g ON m.customer = g.customer
                AND g.at_ms > m.at_ms AND g.at_ms <= m.at_ms + m.window_ms
            JOIN covered AS c ON c.holdout = m.holdout AND c.campaign = g.campaign
        ), distinct_goals AS (
            SELECT holdout, customer, at_ms, max(value) AS value FROM reached
            GROUP BY holdout, customer, at_ms
        ), results AS (
            SELECT m.holdout, m.held, m.window_ms, m.customer, count(o.at_ms) AS reached,
                coalesce(sum(o.value), 0.0) AS value
            FROM matured AS m LEFT JOIN distinct_goals AS o
                ON m.holdout = o.holdout AND m.customer = o.customer
            GROUP BY m.holdout, m.held, m.window_ms, m.customer
        ), fillings AS (SELECT holdout, max(filled) AS filled FROM triggers GROUP BY holdout)
        SELECT r.holdout, r.window_ms, r.held, i.filled, count(*) AS customers,
            sum(CASE WHEN r.reached > 0 THEN 1 ELSE 0 END) AS converted, sum(r.value) AS value,
            sum(r.value * r.value) AS value_squared
        FROM results AS r JOIN fillings AS i ON r.holdout = i.holdout
        GROUP BY r.holdout, r.window_ms, r.held, i.filled ORDER BY r.holdout, r.held
        """
    )
    return _pair_arms(((None, None, None), *row) for row in rows)


def _pair_arms(rows: Iterable[tuple[Any, ...]]) -> Iterable[_ArmPair]:
    """Pair the arms of equal keys, holdout and window; a row has keys, holdout, window, held,
    filled, and the sums of the arm."""
    arms: dict[tuple[Any, ...], dict[bool, ArmSums]] = {}
    filled_pairs: dict[tuple[Any, ...], bool] = {}
    for keys, holdout, window_ms, is_held, is_filled, *sums in rows:
        key = (keys, holdout, int(window_ms))
        customers, conversions, value, value_squares = sums
        arms.setdefault(key, {})[bool(is_held)] = ArmSums(
            int(customers), int(conversions), float(value), float(value_squares)
        )
        if is_held:
            filled_pairs[key] = bool(is_filled)
    no_customers = ArmSums(0, 0, 0.0, 0.0)
    for (keys, holdout, window_ms), pair in arms.items():
        yield _ArmPair(
            keys,
            holdout,
            window_ms,
            filled_pairs.get((keys, holdout, window_ms), False),
            pair.get(False, no_customers),
            pair.get(True, no_customers),
        )


def _lift(pair: _ArmPair, draw: _HoldoutDraw | None) -> Lift:
    campaign, offer, channel = pair.keys
    treated_arm, held_arm = pair.treated_arm, pair.held_arm
    conversion = conversion_difference(treated_arm, held_arm)
    balance = _balance(treated_arm.customers, held_arm.customers, draw)
    is_comparable = balance is None or balance >= _MIN_BALANCE_P
    held_share = held_arm.conversions / held_arm.customers if held_arm.customers else 0.0
    return Lift(
        holdout=pair.holdout,
        campaign=campaign,
        offer=offer,
        channel=channel,
        against="next best" if pair.is_filled else "nothing",
        window_ms=pair.window_ms,
        treated=lift_arm(treated_arm),
        held=lift_arm(held_arm),
        conversion=conversion,
        value=value_difference(treated_arm, held_arm),
        relative=conversion.value / held_share if conversion and held_share else None,
        extra_conversions=_multiply(conversion, treated_arm.customers),
        balance_p=balance,
        verdict=lift_verdict(conversion, is_comparable),
    )


def lift_arm(sums: ArmSums) -> LiftArm:
    """Return an arm of a comparison."""
    share = sums.conversions / sums.customers if sums.customers else None
    return LiftArm(sums.customers, sums.conversions, share, sums.value)


def _multiply(difference: Difference | None, customer_count: int) -> Difference | None:
    if difference is None:
        return None
    low, high = difference.low, difference.high
    return Difference(
        difference.value * customer_count,
        None if low is None else low * customer_count,
        None if high is None else high * customer_count,
    )


@lru_cache(4096)  # most channels of many have arms of the same few sizes
def _balance(treated_size: int, held_size: int, draw: _HoldoutDraw | None) -> float | None:
    """Return the chance of arms of sizes that differ as much or more, given the holdout's share;
    None where everybody was drawn into the same arm."""
    size = treated_size + held_size
    if draw is None or not size or draw.held_out_count in (0, draw.customer_count):
        return None
    return float(binomtest(held_size, size, draw.held_out_count / draw.customer_count).pvalue)


def lift_verdict(conversion: Difference | None, is_comparable: bool) -> Verdict:
    """Return the verdict on a difference in conversion; `is_comparable`: whether the arms have
    likely sizes."""
    if conversion is None or conversion.low is None or conversion.high is None:
        return "too few customers"
    if not is_comparable:
        return "not comparable"
    if conversion.low > 0:
        return "works"
    return "harms" if conversion.high < 0 else "not known yet"
