"""Budgets and stock: leases to partitions, and the remaining amounts.

Amounts are counted in tokens, a millionth of the currency, or of an item, so that sums are exact.
Records that people read state them in the currency.
"""

import math
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

TOKENS: Final = 1_000_000
"""Tokens of one unit of the currency, or of one item."""


def tokens(amount: float) -> int:
    """Return an amount in tokens, rounded up where it has more than six decimals."""
    return math.ceil(round(amount * TOKENS, 3))


def units(count: int) -> float:
    """Return tokens in the currency, or in items."""
    return count / TOKENS


class Purse(Struct, frozen=True, array_like=True):
    """Part of a budget that the owner of a partition may spend; part of the partition's state.

    `spent` of at most `granted` tokens, both since the period began; `number`: of the newest grant;
    the purse is valid for decisions at `begins` <= now < `ends` (ms; None: no end). `price`: shadow
    price of a unit of cost. `next_purse`: the purse of the next period.
    """

    period: str
    begins: int
    ends: int | None
    number: int
    granted: int
    spent: int = 0
    price: float = 0.0
    next_purse: "Purse | None" = None

    def at(self, now_ms: int) -> "Purse":
        """Return the purse of the period at `now_ms`."""
        later_purse = self.next_purse
        return self if later_purse is None or now_ms < later_purse.begins else later_purse

    def pay(self, period: str, amount: int) -> "Purse":
        """Return the purse after spending tokens of a period."""
        if self.next_purse is not None and self.next_purse.period == period:
            return replace(self, next_purse=self.next_purse.pay(period, amount))
        return replace(self, spent=self.spent + amount)

    def left(self, now_ms: int) -> int:
        """Return the tokens that a decision at `now_ms` may spend."""
        purse = self.at(now_ms)
        if now_ms < purse.begins or (purse.ends is not None and now_ms >= purse.ends):
            return 0
        return max(purse.granted - purse.spent, 0)


class Grant(Struct, frozen=True, array_like=True):
    """Lease of a budget to a partition: up to `granted` tokens over the whole period.

    A lower amount than before takes back unspent tokens. The highest `number` counts.
    """

    budget: str
    period: str
    begins: int
    ends: int | None
    number: int
    granted: int
    price: float


def accept(purse: Purse | None, grant: Grant) -> Purse | None:
    """Return the purse after a grant; None for an outdated grant, which changes nothing.

    The purse of a period is kept until the next begins.
    """
    latest_purse = purse if purse is None or purse.next_purse is None else purse.next_purse
    if latest_purse is not None and grant.number <= latest_purse.number:
        return None
    is_same_period = latest_purse is not None and latest_purse.period == grant.period
    spent_tokens = latest_purse.spent if latest_purse is not None and is_same_period else 0
    ceiling = max(grant.granted, spent_tokens)
    granted_purse = Purse(
        grant.period, grant.begins, grant.ends, grant.number, ceiling, spent_tokens, grant.price
    )
    former_purse = purse if is_same_period else latest_purse
    is_next_period = (
        former_purse is not None
        and former_purse.ends is not None
        and former_purse.ends <= grant.begins
    )
    return (
        replace(former_purse, next_purse=granted_purse)
        if former_purse is not None and is_next_period
        else granted_purse
    )


class BudgetLease(Struct, frozen=True):
    """Lease to a partition of `interactions.segmented`; a later `number` replaces an earlier one.

    It belongs to the owner of the partition, as part of its state: a killed worker's lease passes
    to its successor. `granted`: maximum that may be spent there in the period; `spent`: the part
    spent so far.
    """

    partition: int
    number: int
    granted: float
    spent: float


class BudgetRecord(Struct, frozen=True):
    """Value of `budgets`: a campaign's budget, or an item's stock, in its running period.

    `budget` = `spent` + `leased` + the unleased rest. `spent`: reserved by decisions and not
    released; `committed`: the part of it for messages that were shown. `late`: shown after their
    reservation was released and spent otherwise; not in `spent`. `offsets`: partition of
    `decisions` -> offset up to which (exclusive) they are counted. `expiring`: the part of `spent`
    that is released unless reported as shown in time.
    """

    name: str
    period: str
    begins_at: int
    ends_at: int | None
    budget: float
    spent: float
    committed: float
    leased: float
    price: float
    published_at: int
    released: float = 0.0
    late: float = 0.0
    leases: tuple[BudgetLease, ...] = ()
    offsets: dict[str, int] = field(default_factory=dict)
    expiring: float = 0.0


class BudgetStatus(Struct, frozen=True):
    """Budget of a campaign, or stock of an item (`name`: CATALOG/ITEM), in its running `period`.

    `free`: neither spent nor leased; `price`: shadow price. Times are epoch ms.
    """

    name: str
    period: str
    budget: float
    spent: float
    committed: float
    leased: float
    free: float
    price: float
    ends_at: int | None
    published_at: int


def budget_status(record: BudgetRecord) -> BudgetStatus:
    """Return the status of the budget that `record` describes."""
    return BudgetStatus(
        name=record.name,
        period=record.period,
        budget=record.budget,
        spent=record.spent,
        committed=record.committed,
        leased=record.leased,
        free=round(record.budget - record.spent - record.leased, 6),
        price=record.price,
        ends_at=record.ends_at,
        published_at=record.published_at,
    )
