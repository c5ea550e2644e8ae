"""State of budgets for people: remaining amounts, and early exhaustion. Pure."""

from collections.abc import Iterable, Iterator
from typing import Final

from pipeline.config.budgets import is_stock
from pipeline.config.compile import Configuration
from pipeline.model.budget import BudgetRecord, BudgetStatus, budget_status, tokens

_EARLY_PART: Final = 0.9
"""Part of a period before which an exhausted budget counts as spent early."""

_LITTLE_PART: Final = 0.02
"""Part of a budget below which what is left counts as nothing."""


def campaign_budgets(records: Iterable[BudgetRecord]) -> tuple[BudgetStatus, ...]:
    """Return the budgets of campaigns by name, without those of items, which may be thousands."""
    statuses = (budget_status(record) for record in records if not is_stock(record.name))
    return tuple(sorted(statuses, key=lambda status: status.name))


def early_exhaustions(
    records: Iterable[BudgetRecord], configuration: Configuration, now_ms: int
) -> Iterator[str]:
    """Yield descriptions of campaigns whose budget is spent well before its period is over, or at
    any time if the period has no end."""
    for record in records:
        rule = configuration.budgets.get(record.name)
        if rule is None or is_stock(record.name):
            continue
        period = rule.period(now_ms)
        if period.name != record.period:
            continue
        remaining, minimum = (
            tokens(max(record.budget - record.spent, 0)),
            _LITTLE_PART * rule.amount,
        )
        if remaining >= max(rule.unit, 1) and remaining > minimum:
            continue
        span = rule.span(period)
        text = f"{record.spent:,.2f} of {record.budget:,.2f} is spent"
        if span is None:
            yield f"{record.name}: {text}"
            continue
        start_ms, end_ms = span[0] or 0, span[1]
        part = (now_ms - start_ms) / max(end_ms - start_ms, 1)
        if part < _EARLY_PART:
            yield f"{record.name}: {text}, after {max(part, 0):.0%} of its period"
