"""Pacing: a shadow price by which a budget lasts for its period. Pure.

The budget's dual problem prices each unit of cost at λ; a message pays if its score
exceeds λ × cost. λ follows spending by mirror descent: spending faster than the remaining tokens
allow raises it, slower spending lowers it, to 0 where the budget is not short. With entropy as the
distance, a step is a factor of 1 + λ, so that it fits offers of any value.

Balseiro and Gur, Learning in Repeated Auctions with Budgets: Regret Minimization and Equilibrium
(2019); Balseiro, Lu and Mirrokni, The Best of Many Worlds: Dual Mirror Descent for Online
Allocation Problems (2023).
"""

import math
from typing import Final

from msgspec.structs import replace

from pipeline.config.budgets import BudgetRule
from pipeline.decisioning.budgets.accounts import Account, BudgetPace

_MIN_INTERVAL_MS: Final = 1_000
"""Shortest time between two prices."""
_RESPONSES_PER_PERIOD: Final = 50
"""Number of parts of a period: spending twice as fast as planned for one part multiplies 1 + λ
by e."""
_MIN_PRICES: Final = 500
"""Minimum number of prices in a period where few messages are planned."""
_MAX_STEP: Final = 0.5
"""Largest change of the logarithm of 1 + λ in one step."""
_MAX_PRICE: Final = 1e6
"""Maximum of a shadow price."""
_ADVANCE_SHARE: Final = 0.1
"""Share of the amount that may be granted ahead of time: enough to measure the speed of
spending."""


def reprice(account: Account, rule: BudgetRule, now_ms: int) -> Account:
    """Return the account with a price that follows the spending since the last price."""
    span, pace = rule.span(account.period), account.pace
    if span is None:
        return account if pace.price == 0 else replace(account, pace=replace(pace, price=0.0))
    start_ms, end_ms = span[0] if span[0] is not None else pace.since, span[1]
    length_ms, elapsed_ms = max(end_ms - start_ms, 1), now_ms - pace.at
    spent_tokens = max(account.gross_spending - pace.spent, 0)
    if now_ms >= end_ms or (account.left < rule.unit and not spent_tokens):
        return account  # nothing is left to pace
    planned_tokens = max((account.left + spent_tokens) * elapsed_ms / (end_ms - pace.at), 1.0)
    is_early = planned_tokens < rule.unit and elapsed_ms < length_ms / _MIN_PRICES
    if elapsed_ms < _MIN_INTERVAL_MS or is_early:
        return account
    excess = spent_tokens / planned_tokens - 1
    if _is_held_back(account, rule, now_ms):
        excess = max(excess, 1.0)
    step = min(excess * elapsed_ms * _RESPONSES_PER_PERIOD / length_ms, _MAX_STEP)
    price = min(max((1 + pace.price) * math.exp(step) - 1, 0.0), _MAX_PRICE)
    return replace(account, pace=BudgetPace(price, now_ms, account.gross_spending, pace.since))


def allowance(account: Account, rule: BudgetRule, now_ms: int) -> int:
    """Return the tokens that may be granted now: in proportion to the time passed, and
    `_ADVANCE_SHARE`."""
    span = rule.span(account.period)
    if span is None or now_ms >= span[1]:
        return account.free
    start_ms = span[0] if span[0] is not None else account.pace.since
    share = min(max((now_ms - start_ms) / max(span[1] - start_ms, 1), 0.0) + _ADVANCE_SHARE, 1.0)
    granted_tokens = account.amount - account.free
    return max(round(account.amount * share) - granted_tokens, 0)


def _is_held_back(account: Account, rule: BudgetRule, now_ms: int) -> bool:
    """Return whether a partition lacks tokens that only the pace withholds."""
    wanted_tokens = [lease.wanted for lease in account.leases.values() if lease.wanted]
    return (
        bool(wanted_tokens)
        and allowance(account, rule, now_ms) < min(wanted_tokens) <= account.free
    )
