"""Pacing: a budget for a period lasts for it, and goes where it is worth most."""

from bisect import bisect_right
from random import Random
from typing import Final

import pytest
from msgspec.structs import replace

from pipeline.config.budgets import BudgetRule
from pipeline.decisioning.budgets.accounts import Account, open_account
from pipeline.decisioning.budgets.pacing import allowance, reprice
from pipeline.learner.allocation import allocate
from pipeline.model.budget import TOKENS
from pipeline.model.time import DAY_MS, HOUR_MS

_BUDGET: Final = 1_000
_ARRIVAL_COUNT: Final = 9_000
_PARTITION_COUNT: Final = 4
_TICK_MS: Final = 5_000
_MONDAY_MS: Final = 1_767_571_200_000  # 2026-01-05, midnight in UTC
_RULE: Final = BudgetRule("sale", _BUDGET * TOKENS, TOKENS, "day")


class _Day:
    """Day of customers in order of arrival; a message costs 1, and has a random value for each."""

    def __init__(self, seed: int, has_rush: bool) -> None:
        random = Random(seed)
        draws = (random.random() for _ in range(_ARRIVAL_COUNT))
        times = ((share**2 if has_rush else share) * DAY_MS for share in draws)
        self.arrivals = sorted(
            (
                _MONDAY_MS + int(time_ms),
                random.lognormvariate(1, 1),
                random.randrange(_PARTITION_COUNT),
            )
            for time_ms in times
        )

    def best_yield(self) -> float:
        """Return the yield of the budget if the whole day were known beforehand."""
        worths = sorted((value - 1 for _, value, _ in self.arrivals), reverse=True)
        return sum(worths[:_BUDGET])

    def first_come_yield(self) -> float:
        """Return the yield of the budget where the first customers get all of it."""
        worths = [value - 1 for _, value, _ in self.arrivals if value > 1]
        return sum(worths[:_BUDGET])

    def spend_by_price(self) -> tuple[float, list[int]]:
        """Return the yield of the budget by the price, and the spend by the end of each hour."""
        account: Account = open_account(_RULE, None, _MONDAY_MS)
        gain, hourly_spend, index = 0.0, [], 0
        times = [time_ms for time_ms, _, _ in self.arrivals]
        for now_ms in range(_MONDAY_MS, _MONDAY_MS + DAY_MS, _TICK_MS):
            account = reprice(account, _RULE, now_ms)
            maximum = allowance(account, _RULE, now_ms)
            account = allocate(account, _RULE.unit, _PARTITION_COUNT, maximum, now_ms)
            end = bisect_right(times, now_ms + _TICK_MS)
            for _, value, partition in self.arrivals[index:end]:
                if value - 1 - account.pace.price > 0:
                    lease = account.leases[partition]
                    if lease.left >= TOKENS:
                        gain += value - 1
                        lease = replace(lease, spent=lease.spent + TOKENS)
                    else:
                        lease = replace(lease, wanted=TOKENS)
                    account = account.with_lease(partition, lease)
            index = end
            assert account.net_spending <= account.amount
            if (now_ms + _TICK_MS - _MONDAY_MS) % HOUR_MS == 0:
                hourly_spend.append(account.net_spending // TOKENS)
        return gain, hourly_spend


@pytest.mark.parametrize(
    ("has_rush", "min_share"), [(False, 0.9), (True, 0.7)], ids=["even arrivals", "early rush"]
)
def test_paced_budget_lasts_and_is_worth_more(has_rush: bool, min_share: float) -> None:
    day = _Day(1, has_rush)
    gain, hourly_spend = day.spend_by_price()
    best_yield, first_yield = day.best_yield(), day.first_come_yield()
    assert hourly_spend[-1] >= 0.95 * _BUDGET
    assert hourly_spend[17] <= 0.95 * _BUDGET
    assert gain >= min_share * best_yield
    assert gain >= 1.5 * first_yield
