"""Budgets of campaigns and stock of items: their amounts and periods."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from pipeline.config import model
from pipeline.config.dates import end_ms, start_ms
from pipeline.config.zones import zone
from pipeline.model.budget import TOKENS, tokens

PeriodKind: TypeAlias = Literal["day", "week", "month", "campaign", "stock"]

_SEPARATOR: Final = "/"


class BudgetPeriod(Struct, frozen=True):
    """Current period of a budget: [`begins`, `ends`), in ms; `ends` None: without end."""

    name: str
    begins: int
    ends: int | None


class BudgetRule(Struct, frozen=True):
    """Budget of a campaign, or stock of an item, in tokens.

    `unit`: cost of the most expensive message (of a stock: one item); a lease below it may be
    useless.
    `start_ms` and `end_ms`: dates of the campaign.
    """

    name: str
    amount: int
    unit: int
    per: PeriodKind
    zone: tzinfo = UTC
    start_ms: int | None = None
    end_ms: int | None = None

    def period(self, now_ms: int) -> BudgetPeriod:
        """Return the period at `now_ms`."""
        if self.per == "stock":
            return BudgetPeriod(f"stock {self.amount // TOKENS}", 0, None)
        if self.per == "campaign":
            return BudgetPeriod("campaign", 0, None)
        day = datetime.fromtimestamp(now_ms / 1000, self.zone).date()
        if self.per == "week":
            day -= timedelta(days=day.weekday())
        elif self.per == "month":
            day = day.replace(day=1)
        end_day = day + timedelta(days={"day": 1, "week": 7, "month": 31}[self.per])
        if self.per == "month":
            end_day = end_day.replace(day=1)
        begins, ends = (
            round(datetime(date.year, date.month, date.day, tzinfo=self.zone).timestamp() * 1000)
            for date in (day, end_day)
        )
        return BudgetPeriod(f"{self.per} {day.isoformat()}", begins, ends)

    def span(self, period: BudgetPeriod) -> tuple[int | None, int] | None:
        """Return the beginning (None: unknown) and end between which a budget is paced in a
        period; None: without an end it is not paced."""
        if period.ends is not None:
            return period.begins, period.ends
        return None if self.end_ms is None else (self.start_ms, self.end_ms)


def stock_name(catalog: str, item: str) -> str:
    """Return the name of an item's stock among budgets."""
    return f"{catalog}{_SEPARATOR}{item}"


def is_stock(name: str) -> bool:
    """Return whether a budget's name is that of a stock."""
    return _SEPARATOR in name


def has_budget(campaign: model.Campaign, bundle: model.Bundle) -> bool:
    """Return whether a campaign spends a budget; transactional messages ignore budgets."""
    is_limited = bundle.policies.budgets.enforced and campaign.purpose != "transactional"
    return is_limited and campaign.budget is not None


def budget_rules(bundle: model.Bundle) -> Mapping[str, BudgetRule]:
    """Return the budgets and stocks of a configuration by name."""
    rules = (*_campaign_budgets(bundle), *_stocks_of_items(bundle))
    return {rule.name: rule for rule in rules}


def _campaign_budgets(bundle: model.Bundle) -> Iterator[BudgetRule]:
    channels = {channel.name: channel.cost for channel in bundle.channels.channels}
    for campaign in bundle.campaigns:
        if not has_budget(campaign, bundle) or campaign.budget is None:
            continue
        value = campaign.budget
        budget = value if isinstance(value, model.Budget) else model.Budget(value)
        costs = [
            tokens(treatment.cost + channels[treatment.channel])
            for offer in campaign.offers
            for treatment in offer.treatments
        ]
        yield BudgetRule(
            name=campaign.campaign,
            amount=tokens(budget.amount),
            unit=max(costs, default=0),
            per=budget.per,
            zone=zone(budget.zone) or UTC,
            start_ms=None if campaign.starts is None else start_ms(campaign.starts),
            end_ms=None if campaign.ends is None else end_ms(campaign.ends),
        )


def _stocks_of_items(bundle: model.Bundle) -> Iterator[BudgetRule]:
    catalog_names = {
        offer.catalog
        for campaign in bundle.campaigns
        for offer in campaign.offers
        if campaign.purpose != "transactional"
    }
    for catalog in bundle.catalogs:
        if catalog.catalog in catalog_names and bundle.policies.budgets.enforced:
            for item in catalog.items:
                if item.stock is not None:
                    name = stock_name(catalog.catalog, item.id)
                    yield BudgetRule(name, item.stock * TOKENS, TOKENS, "stock")
