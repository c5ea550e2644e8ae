"""Budgets and stock while a log is played: one purse each, by the log's clock.

The accounts, the pacing and the shadow price are those of the learner. The differences: one purse
may spend all that its time allows, while partitions of a stack hold leases of it; and the price is
set between two records, not each second.
"""

from collections.abc import Mapping
from heapq import heappop, heappush
from typing import Final

from pipeline.config.budgets import BudgetRule, is_stock
from pipeline.decisioning.budgets.accounts import (
    Account,
    SpendingCount,
    SpentAction,
    open_account,
    record_of,
)
from pipeline.decisioning.budgets.pacing import allowance, reprice
from pipeline.model.budget import BudgetStatus, Purse, budget_status
from pipeline.model.decision import Decision

_CALENDAR_PERIODS: Final = ("day", "week", "month")
_NO_END_MS: Final = 2**63
_CHECK_INTERVAL_MS: Final = 1_000
"""Shortest time between two checks of the pacing."""


class PlayedBudgets:
    """Budgets of a configuration. `wallet`: purses with the tokens that may be spent now; the
    mapping is updated in place."""

    def __init__(self, rules: Mapping[str, BudgetRule]) -> None:
        self.wallet: dict[str, Purse] = {}
        self._rules = rules
        self._paced_rules = [
            rule
            for rule in rules.values()
            if rule.per in _CALENDAR_PERIODS or rule.end_ms is not None
        ]
        self._accounts: dict[str, Account] = {}
        self._actions: dict[str, SpentAction] = {}
        self._due_actions: list[tuple[int, str]] = []
        self._checked_ms: int | None = None
        self._period_end_ms = _NO_END_MS

    def advance(self, now_ms: int) -> None:
        """Release the tokens of messages that were not reported as shown in time, begin new
        periods, and set prices."""
        self._expire(now_ms)
        checked_ms = self._checked_ms
        if checked_ms is not None and now_ms < min(
            checked_ms + _CHECK_INTERVAL_MS, self._period_end_ms
        ):
            return
        for rule in self._rules.values() if checked_ms is None else self._paced_rules:
            self._reprice(rule, now_ms)
        self._checked_ms = now_ms
        self._period_end_ms = self.next_period(now_ms) or _NO_END_MS

    def next_period(self, now_ms: int) -> int | None:
        """Return the time (ms) at which the next period of a budget begins; None: no period
        ends."""
        ends = (rule.period(now_ms).ends for rule in self._paced_rules)
        return min((end for end in ends if end is not None), default=None)

    def count_decision(self, decision: Decision) -> None:
        """SpendingCount a decision's spending, and its reports of messages shown or not shown."""
        if decision.spends:
            count = SpendingCount(self._accounts, self._actions.get, decision.decided_at)
            count.count_decision(decision, 0, 0)
            self._apply_count(count, decision.decided_at)

    def report(self, now_ms: int) -> tuple[BudgetStatus, ...]:
        """Return the status of the budgets of campaigns."""
        return tuple(
            budget_status(record_of(account, {}, now_ms))
            for name, account in sorted(self._accounts.items())
            if not is_stock(name)
        )

    def _reprice(self, rule: BudgetRule, now_ms: int) -> None:
        account = open_account(rule, self._accounts.get(rule.name), now_ms)
        self._accounts[rule.name] = reprice(account, rule, now_ms)
        self._refill(rule, now_ms)

    def _refill(self, rule: BudgetRule, now_ms: int) -> None:
        account = self._accounts[rule.name]
        period, spending = account.period, account.gross_spending
        self.wallet[rule.name] = Purse(
            period=period.name,
            begins=period.begins,
            ends=period.ends,
            number=0,
            granted=spending + max(allowance(account, rule, now_ms), 0),
            spent=spending,
            price=account.pace.price,
        )

    def _expire(self, now_ms: int) -> None:
        while self._due_actions and self._due_actions[0][0] <= now_ms:
            due_ms, action_id = heappop(self._due_actions)
            action = self._actions.get(action_id)
            if action is None or action.due != due_ms:
                continue
            if action.status == "reserved" and action.until is not None:
                count = SpendingCount(self._accounts, self._actions.get, now_ms)
                count.expire(action_id)
                self._apply_count(count, now_ms)
            else:
                del self._actions[action_id]

    def _apply_count(self, count: SpendingCount, now_ms: int) -> None:
        self._actions.update(count.actions)
        for action_id, action in count.actions.items():
            heappush(self._due_actions, (action.due, action_id))
        self._accounts.update(count.changed_accounts)
        for name in count.changed_accounts:
            self._refill(self._rules[name], now_ms)
