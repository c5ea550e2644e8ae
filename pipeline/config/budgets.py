"""Budgets of campaigns and stock of items: how much there is, and for which period."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from pipeline.config import model
from pipeline.config.dates import end_ms, start_ms
from pipeline.config.zones import zone
from pipeline.model.budget import TOKENS, tokens

Per: TypeAlias = Literal["day", "week", "month", "campaign", "stock"]

_SIGN: Final = "/"


class BudgetPeriod(Struct, frozen=True):
    """Running period of a budget: [`begins`, `ends`), in ms, for ever where None."""

    name: str
    begins: int
    ends: int | None


class BudgetRule(Struct, frozen=True):
    """Budget of a campaign, or stock of an item, in tokens.

    `unit`: what the dearest message takes of it; less than that is of no use to a partition.
    `starts` and `ends` are the campaign's, in ms.
    """

    name: str
    amount: int
    unit: int
    per: Per
    zone: tzinfo = UTC
    starts: int | None = None
    ends: int | None = None

    def period(self, now_ms: int) -> BudgetPeriod:
        """Return the period that is running at `now_ms`."""
        if self.per == "stock":
            return BudgetPeriod(f"stock {self.amount // TOKENS}", 0, None)
        if self.per == "campaign":
            return BudgetPeriod("campaign", 0, None)
        day = datetime.fromtimestamp(now_ms / 1000, self.zone).date()
        if self.per == "week":
            day -= timedelta(days=day.weekday())
        elif self.per == "month":
            day = day.replace(day=1)
        after = day + timedelta(days={"day": 1, "week": 7, "month": 31}[self.per])
        if self.per == "month":
            after = after.replace(day=1)
        begins, ends = (
            round(datetime(one.year, one.month, one.day, tzinfo=self.zone).timestamp() * 1000)
            for one in (day, after)
        )
        return BudgetPeriod(f"{self.per} {day.isoformat()}", begins, ends)

    def span(self, period: BudgetPeriod) -> tuple[int | None, int] | None:
        """Return the beginning (None: unknown) and end that a budget is paced over in a period;
        None: it is not paced, for it has no end."""
        if period.ends is not None:
            return period.begins, period.ends
        return None if self.ends is None else (self.starts, self.ends)


def stock_name(catalog: str, item: str) -> str:
    """Return the name of an item's stock among budgets."""
    return f"{catalog}{_SIGN}{item}"


def is_stock(name: str) -> bool:
    """Return whether a budget's name is that of a stock."""
    return _SIGN in name


def has_budget(campaign: model.Campaign, bundle: model.Bundle) -> bool:
    """Return whether a campaign spends a budget; transactional messages are sent beyond any."""
    enforced = bundle.policies.budgets.enforced and campaign.purpose != "transactional"
    return enforced and campaign.budget is not None


def budget_rules(bundle: model.Bundle) -> Mapping[str, BudgetRule]:
    """Return the budgets and stocks of a configuration by name."""
    rules = (*_campaigns(bundle), *_stocks(bundle))
    return {one.name: one for one in rules}


def _campaigns(bundle: model.Bundle) -> Iterator[BudgetRule]:
    channels = {one.name: one.cost for one in bundle.channels.channels}
    for one in bundle.campaigns:
        if not has_budget(one, bundle) or one.budget is None:
            continue
        given = one.budget
        budget = given if isinstance(given, model.Budget) else model.Budget(given)
        costs = [
            tokens(each.cost + channels[each.channel])
            for offer in one.offers
            for each in offer.treatments
        ]
        yield BudgetRule(
            name=one.campaign,
            amount=tokens(budget.amount),
            unit=max(costs, default=0),
            per=budget.per,
            zone=zone(budget.zone) or UTC,
            starts=None if one.starts is None else start_ms(one.starts),
            ends=None if one.ends is None else end_ms(one.ends),
        )


def _stocks(bundle: model.Bundle) -> Iterator[BudgetRule]:
    used = {
        offer.catalog
        for one in bundle.campaigns
        for offer in one.offers
        if one.purpose != "transactional"
    }
    for catalog in bundle.catalogs:
        if catalog.catalog in used and bundle.policies.budgets.enforced:
            for item in catalog.items:
                if item.stock is not None:
                    name = stock_name(catalog.catalog, item.id)
                    yield BudgetRule(name, item.stock * TOKENS, TOKENS, "stock")
