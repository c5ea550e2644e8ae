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
_ARRIVALS: Final = 9_000
_PARTITIONS: Final = 4
_TICK_MS: Final = 5_000
_MONDAY: Final = 1_767_571_200_000  # 2026-01-05, midnight in UTC
_RULE: Final = BudgetRule("sale", _BUDGET * TOKENS, TOKENS, "day")


class _Day:
    """Day of customers, each worth something to a message that costs 1."""

    def __init__(self, seed: int, rush: bool) -> None:
        random = Random(seed)
        draws = (random.random() for _ in range(_ARRIVALS))
        times = ((share**2 if rush else share) * DAY_MS for share in draws)
        self.arrivals = sorted(
            (_MONDAY + int(at), random.lognormvariate(1, 1), random.randrange(_PARTITIONS))
            for at in times
        )

    def best_yield(self) -> float:
        """Return the yield of the budget if the whole day were known beforehand."""
        worth = sorted((value - 1 for _, value, _ in self.arrivals), reverse=True)
        return sum(worth[:_BUDGET])

    def first_come_yield(self) -> float:
        """Return the yield of the budget where the first customers get all of it."""
        worth = [value - 1 for _, value, _ in self.arrivals if value > 1]
        return sum(worth[:_BUDGET])

    def spend_by_price(self) -> tuple[float, list[int]]:
        """Return the yield of the budget by the price, and the spend by the end of each hour."""
        account: Account = open_account(_RULE, None, _MONDAY)
        gain, hours, place = 0.0, [], 0
        times = [at for at, _, _ in self.arrivals]
        for now in range(_MONDAY, _MONDAY + DAY_MS, _TICK_MS):
            account = reprice(account, _RULE, now)
            maximum = allowance(account, _RULE, now)
            account = allocate(account, _RULE.unit, _PARTITIONS, maximum, now)
            end = bisect_right(times, now + _TICK_MS)
            for _, value, partition in self.arrivals[place:end]:
                if value - 1 - account.pace.price > 0:
                    lease = account.leases[partition]
                    if lease.left >= TOKENS:
                        gain += value - 1
                        lease = replace(lease, spent=lease.spent + TOKENS)
                    else:
                        lease = replace(lease, wanted=TOKENS)
                    account = account.with_lease(partition, lease)
            place = end
            assert account.net <= account.amount
            if (now + _TICK_MS - _MONDAY) % HOUR_MS == 0:
                hours.append(account.net // TOKENS)
        return gain, hours


@pytest.mark.parametrize(
    ("rush", "share"), [(False, 0.9), (True, 0.7)], ids=["even arrivals", "early rush"]
)
def test_paced_budget_lasts_and_is_worth_more(rush: bool, share: float) -> None:
    day = _Day(1, rush)
    gain, hours = day.spend_by_price()
    best_yield, first_yield = day.best_yield(), day.first_come_yield()
    assert hours[-1] >= 0.95 * _BUDGET
    assert hours[17] <= 0.95 * _BUDGET
    assert gain >= share * best_yield
    assert gain >= 1.5 * first_yield
