"""Funds of a decision: tokens of budgets and stock that its partition may still spend, and prices.

A purse changes by records only: by grants, which a `lease` record on the stage's input holds, and
by the spending of decisions. So a replay of the same input sees the same purses.
"""

from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

import msgspec
from msgspec import Struct, field

from pipeline.config.budgets import is_stock
from pipeline.config.compiled import CompiledCandidate
from pipeline.decisioning.history import STATUS_BY_OUTCOME
from pipeline.model.budget import TOKENS, BudgetRecord, Grant, Purse, accept, tokens, units
from pipeline.model.control import Control
from pipeline.model.decision import BudgetRead, Contact, Decision, Spend

Wallet: TypeAlias = Mapping[str, Purse]
"""Purses of one partition, by the name of their budget."""

OUT_OF_STOCK: Final = "eligibility/out of stock"
"""Rule that rejects items without stock."""

_AMPLE_STOCK: Final = Purse("", 0, None, 0, TOKENS**3)

_GRANTS_DECODER = msgspec.msgpack.Decoder(tuple[Grant, ...])


class Funds(Struct, frozen=True):
    """Tokens that are left for one decision, less the `spent_tokens` of its own choices."""

    wallet: Wallet
    now_ms: int
    spent_tokens: Mapping[str, int] = field(default_factory=dict)

    def shortage(self, candidate: CompiledCandidate) -> str | None:
        """Return the first budget or stock that has too little left for a candidate."""
        for name, amount in candidate.draws:
            if self.tokens_left(name) < amount:
                return name
        return None

    def tokens_left(self, name: str) -> int:
        """Return the tokens that are left of a budget."""
        purse = self.wallet.get(name)
        return 0 if purse is None else purse.left(self.now_ms) - self.spent_tokens.get(name, 0)

    def is_out_of_stock(self, candidate: CompiledCandidate) -> bool:
        """Return whether the candidate's item has no stock left."""
        return any(
            is_stock(name) and self.tokens_left(name) < need for name, need in candidate.draws
        )

    def prices(self, campaigns: Iterable[str]) -> dict[str, float]:
        """Return the shadow prices of campaigns, without those that are 0."""
        purses = ((name, self.wallet.get(name)) for name in campaigns)
        prices = (
            (name, purse.at(self.now_ms).price) for name, purse in purses if purse is not None
        )
        return {name: price for name, price in prices if price > 0}

    def read_budgets(self, names: Iterable[str]) -> tuple[BudgetRead, ...]:
        """Return the budgets of these names as the decision reads them."""
        return tuple(self._read(name) for name in sorted(names))

    def _read(self, name: str) -> BudgetRead:
        purse = self.wallet.get(name)
        if purse is None:
            return BudgetRead(name, "", 0.0, 0.0)
        current_purse = purse.at(self.now_ms)
        left = units(current_purse.left(self.now_ms))
        return BudgetRead(name, current_purse.period, left, current_purse.price)


def reserve(wallet: Wallet, candidate: CompiledCandidate, contact: Contact) -> tuple[Spend, ...]:
    """Return the reservations of a message in budgets and stock."""
    return tuple(
        Spend(
            action_id=contact.action_id,
            what="reserved",
            budget=name,
            period=wallet[name].at(contact.at).period,
            amount=units(amount),
            until=contact.until,
        )
        for name, amount in candidate.draws
        if name in wallet
    )


def spends_of_outcome(action_id: str, outcome: str) -> tuple[Spend, ...]:
    """Return the spends by which an outcome commits or releases an action's reservations."""
    status = STATUS_BY_OUTCOME.get(outcome)
    return () if status is None or status == "reserved" else (Spend(action_id, status),)


def pay(wallet: Wallet, spends: Iterable[Spend]) -> dict[str, Purse]:
    """Return the changed purses, after payment of the reservations among `spends`."""
    purses: dict[str, Purse] = {}
    for spend in spends:
        if spend.what == "reserved":
            purse = purses.get(spend.budget) or wallet[spend.budget]
            purses[spend.budget] = purse.pay(spend.period, tokens(spend.amount))
    return purses


def receive(wallet: Wallet, lease: Control) -> dict[str, Purse]:
    """Return the purses that the grants of a `lease` record change."""
    purses: dict[str, Purse] = {}
    for grant in () if lease.state is None else _GRANTS_DECODER.decode(lease.state):
        purse = accept(purses.get(grant.budget) or wallet.get(grant.budget), grant)
        if purse is not None:
            purses[grant.budget] = purse
    return purses


def wallet_of(records: Iterable[BudgetRecord]) -> Wallet:
    """Return purses with all unspent tokens, leased or not."""
    return {
        record.name: Purse(
            period=record.period,
            begins=record.begins_at,
            ends=record.ends_at,
            number=0,
            granted=tokens(record.budget),
            spent=tokens(record.spent),
            price=record.price,
        )
        for record in records
    }


def recorded_wallet(decision: Decision, budgets: Iterable[str]) -> Wallet:
    """Return the purses as a decision read them; items that it does not name had enough stock.

    `budgets`: all names of budgets and stocks.
    """
    purses = {
        budget.budget: Purse(budget.period, 0, None, 0, tokens(budget.left), 0, budget.price)
        for budget in decision.budgets
    }
    return {**{name: _AMPLE_STOCK for name in budgets if is_stock(name)}, **purses}
