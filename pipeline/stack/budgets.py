"""State of budgets for people: what is left, and whether it runs out early. Pure."""

from collections.abc import Iterable, Iterator
from typing import Final

from pipeline.config.budgets import is_stock
from pipeline.config.compile import Configuration
from pipeline.model.budget import BudgetRecord, BudgetStatus, budget_status, tokens

_EARLY: Final = 0.9
"""A budget that is spent before this part of its period is out of money early."""
_LITTLE: Final = 0.02


def campaign_budgets(records: Iterable[BudgetRecord]) -> tuple[BudgetStatus, ...]:
    """Return the budgets of campaigns by name; of items there may be thousands."""
    found = (budget_status(one) for one in records if not is_stock(one.name))
    return tuple(sorted(found, key=lambda one: one.name))


def spent_early(
    records: Iterable[BudgetRecord], configuration: Configuration, now_ms: int
) -> Iterator[str]:
    """Yield, in words, the campaigns whose budget is spent well before its period is over."""
    for one in records:
        rule = configuration.budgets.get(one.name)
        if rule is None or is_stock(one.name):
            continue
        period = rule.period(now_ms)
        if period.name != one.period:
            continue
        left, least = tokens(max(one.budget - one.spent, 0)), _LITTLE * rule.amount
        if left >= max(rule.unit, 1) and left > least:
            continue
        span = rule.span(period)
        text = f"{one.spent:,.2f} of {one.budget:,.2f} is spent"
        if span is None:
            yield f"{one.name}: {text}"
            continue
        begins, ends = span[0] or 0, span[1]
        part = (now_ms - begins) / max(ends - begins, 1)
        if part < _EARLY:
            yield f"{one.name}: {text}, after {max(part, 0):.0%} of its period"
