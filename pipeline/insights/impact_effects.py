"""Value of the factors of arbitration, as impact tests measure it.

A customer enters with the first decision that has an eligible message, which is the same decision
in all arms, and converts by the goal of any campaign within the longest of the campaigns' windows.
Customers in an arm are compared with those in no arm, whichever messages they got. Customers whose
window is not over, or whose arm changed with the configuration, are not counted."""

from dataclasses import dataclass
from typing import Final

from scipy.stats import chisquare

from pipeline.insights.campaigns import LiftArm, Verdict, lift_arm, lift_verdict
from pipeline.insights.decision_log import TRIGGERS
from pipeline.insights.engines import Queries
from pipeline.insights.intervals import (
    ArmSums,
    Difference,
    conversion_difference,
    value_difference,
)

_USUAL: Final = "usual"
_MIN_BALANCE_P: Final = 0.001
"""Chance of the arms' sizes below which these contradict equal shares."""


@dataclass(frozen=True, slots=True)
class FactorEffect:
    """Gain of usual decisions over decisions of the arm that leaves a factor out: `conversion` in
    the share of customers who converted, `value` per customer; `relative`: to the arm's share."""

    arm: str
    customers: LiftArm
    conversion: Difference | None
    value: Difference | None
    relative: float | None
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class ImpactEffects:
    """Effects of all factors; `usual`: customers in no arm. `balance_p`: chance of tested arms of
    these sizes (None: fewer than two arms); `left_out`: customers whose window is not over or who
    were in two arms."""

    usual: LiftArm
    factors: tuple[FactorEffect, ...]
    window_ms: int
    balance_p: float | None
    left_out: int


def impact_effects(queries: Queries, until_ms: int) -> ImpactEffects:
    """Return the effects, from the loaded facts and goals of a log that ends at `until_ms`."""
    queries.define("entered", _ENTRIES)
    window_ms = int(queries.rows("SELECT coalesce(max(window_ms), 0) FROM windows")[0][0])
    arms = {
        arm: ArmSums(int(customers), int(conversions), float(value), float(value_squares))
        for arm, customers, conversions, value, value_squares in queries.rows(
            _results(window_ms, until_ms)
        )
    }
    usual = arms.pop(_USUAL, ArmSums(0, 0, 0.0, 0.0))
    compared_customers = usual.customers + sum(arm.customers for arm in arms.values())
    balance = _balance(list(arms.values()))
    is_comparable = balance is None or balance >= _MIN_BALANCE_P
    return ImpactEffects(
        usual=lift_arm(usual),
        factors=tuple(
            _effect(arm, usual, sums, is_comparable) for arm, sums in sorted(arms.items())
        ),
        window_ms=window_ms,
        balance_p=balance,
        left_out=int(queries.rows("SELECT count(*) FROM entered")[0][0]) - compared_customers,
    )


_ENTRIES: Final = f"""
SELECT customer, min(arm) AS arm, count(DISTINCT arm) AS arms, min(at_ms) AS at_ms FROM (
    SELECT customer, arm, at_ms FROM (
        SELECT customer, arm, at_ms, unnest(candidates) AS entry FROM decided WHERE arm IS NOT NULL
    ) AS competed
    UNION ALL
    SELECT customer, arm, at_ms FROM (
        SELECT customer, arm, at_ms, unnest(map_keys(rejected)) AS rule FROM decided
        WHERE arm IS NOT NULL
    ) AS refused
    WHERE rule NOT LIKE 'eligibility/%' AND rule NOT IN {TRIGGERS}
) AS considered GROUP BY customer
"""


def _results(window_ms: int, until_ms: int) -> str:
    return f"""
        WITH matured AS (
            SELECT customer, arm, at_ms FROM entered
            WHERE arms = 1 AND at_ms + {window_ms} < {until_ms}
        ), once AS (
            SELECT m.customer, g.at_ms, max(g.value) AS value
            FROM matured AS m JOIN goals AS g ON m.customer = g.customer
                AND g.at_ms > m.at_ms AND g.at_ms <= m.at_ms + {window_ms}
            GROUP BY m.customer, g.at_ms
        ), results AS (
            SELECT m.arm, m.customer, count(o.at_ms) AS reached,
                coalesce(sum(o.value), 0.0) AS value
            FROM matured AS m LEFT JOIN once AS o ON m.customer = o.customer
            GROUP BY m.arm, m.customer
        )
        SELECT arm, count(*), sum(CASE WHEN reached > 0 THEN 1 ELSE 0 END), sum(value),
            sum(value * value)
        FROM results GROUP BY arm
    """


def _effect(arm: str, usual: ArmSums, sums: ArmSums, is_comparable: bool) -> FactorEffect:
    conversion = conversion_difference(usual, sums)
    share = sums.conversions / sums.customers
    return FactorEffect(
        arm=arm,
        customers=lift_arm(sums),
        conversion=conversion,
        value=value_difference(usual, sums),
        relative=conversion.value / share if conversion and share else None,
        verdict=lift_verdict(conversion, is_comparable),
    )


def _balance(arms: list[ArmSums]) -> float | None:
    """Return the chance of arms of these sizes if all have the same share of customers; None for
    fewer than two arms."""
    if len(arms) < 2:
        return None
    return float(chisquare([arm.customers for arm in arms]).pvalue)
