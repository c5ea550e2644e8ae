"""Treasury: the one owner of all budgets and stock, which leases them to partitions."""

from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from pipeline.config.budgets import BudgetRule, is_stock
from pipeline.config.compile import Configuration
from pipeline.decisioning.budgets.accounts import Account, open_account
from pipeline.decisioning.budgets.pacing import allowance, reprice
from pipeline.learner import metrics
from pipeline.learner.allocation import allocate, has_waiting_partition, recall_all
from pipeline.learner.lease_writer import LeaseWriter
from pipeline.learner.ledger import EvidenceLedger
from pipeline.model.budget import Grant, units

_PUBLICATION_INTERVAL_MS: Final = 1_000
_PRICE_TOLERANCE: Final = 0.01
"""Relative difference of prices below which no new record is written."""


class _Recall(Struct, frozen=True):
    """Recall in flight: the number of its grant and the offset of its record. `end`: end of
    `decisions` when workers had processed it; once decisions are counted up to there, the recall is
    confirmed."""

    number: int
    offset: int
    end: int | None = None


class Treasury:
    """Treasury of the ledger's accounts; it tracks the grants that were sent to workers, and the
    accounts to publish to `budgets`."""

    def __init__(self, ledger: EvidenceLedger, writer: LeaseWriter, partition_count: int) -> None:
        self._ledger = ledger
        self._writer = writer
        self._partition_count = partition_count
        self._sent_numbers: dict[tuple[str, int], int] = {}
        self._recalls: dict[tuple[str, int], _Recall] = {}
        self._offsets: dict[int, int] = {}
        self._digest: str | None = None
        self._waiting_budgets: set[str] = set()
        self._names_to_publish: set[str] = set()
        self._publication_ms = 0

    def work(self, config: Configuration, now_ms: int) -> None:
        """Confirm recalls, set prices, grant and recall, and publish the changes.

        Raises KafkaException, AnotherLearnerError.
        """
        ledger, rules = self._ledger, config.budgets
        ledger.expire_spending(now_ms)
        names = ledger.take_changed_accounts()
        self._names_to_publish |= names
        names |= self._confirm()
        if self._digest != config.digest:
            names |= rules.keys() | ledger.accounts.keys()
        if self._digest is None:
            self._names_to_publish |= ledger.accounts.keys()
        names.update(
            name for name, rule in rules.items() if rule.end_ms or rule.per in _CALENDAR_PERIODS
        )
        names |= self._waiting_budgets  # the hold of a lease may have ended
        accounts = {
            name: account
            for name in sorted(names)
            if (account := self._revise(name, rules.get(name), now_ms)) is not None
        }
        if accounts:
            ledger.put_accounts(accounts)
            ledger.take_changed_accounts()
            self._names_to_publish |= accounts.keys()
        self._send_grants(accounts, config.digest, now_ms)
        self._digest = config.digest

    def is_processed(self) -> bool:
        """Return whether workers have processed all grants and recalls."""
        offsets = self._writer.processed_offsets(self._offsets)
        return all(offsets[partition] > offset for partition, offset in self._offsets.items())

    def _revise(self, name: str, rule: BudgetRule | None, now_ms: int) -> Account | None:
        """Return the account of a budget as it should be; None if it is so already, or if there is
        neither a rule nor an account."""
        old_account = self._ledger.accounts.get(name)
        self._waiting_budgets.discard(name)
        if rule is None:
            new_account = None if old_account is None else recall_all(old_account)
        else:
            new_account = reprice(open_account(rule, old_account, now_ms), rule, now_ms)
            max_tokens = allowance(new_account, rule, now_ms)
            new_account = _renew_outdated_prices(
                allocate(new_account, rule.unit, self._partition_count, max_tokens, now_ms)
            )
            if has_waiting_partition(new_account):
                self._waiting_budgets.add(name)
        return None if new_account == old_account else new_account

    def _send_grants(self, revisions: Mapping[str, Account], digest: str, now_ms: int) -> None:
        # The grants that an earlier learner sent are unknown, so after a start all are sent again.
        accounts = self._ledger.accounts if self._digest is None else revisions
        grants = [
            (partition, _grant_of(account, partition))
            for account in accounts.values()
            for partition, lease in account.leases.items()
            if lease.number > self._sent_numbers.get((account.name, partition), 0)
        ]
        if grants or now_ms - self._publication_ms >= _PUBLICATION_INTERVAL_MS:
            self._publish(now_ms)
        if not grants:
            return
        offsets = self._writer.grant(grants, digest, now_ms)
        self._offsets |= offsets
        for partition, grant in grants:
            key = grant.budget, partition
            self._sent_numbers[key] = grant.number
            lease = self._ledger.accounts[grant.budget].leases[partition]
            if lease.recalled:
                self._recalls[key] = _Recall(grant.number, offsets[partition])

    def _publish(self, now_ms: int) -> None:
        accounts = [self._ledger.accounts[name] for name in sorted(self._names_to_publish)]
        self._writer.publish(accounts, self._ledger.state.offsets, now_ms)
        self._names_to_publish.clear()
        self._publication_ms = now_ms
        for account in accounts:
            if not is_stock(account.name):
                metrics.BUDGET_LEFT.labels(account.name).set(units(account.left))
                metrics.BUDGET_PRICE.labels(account.name).set(account.pace.price)

    def _confirm(self) -> set[str]:
        """Confirm the recalls that workers have processed, once all earlier decisions are counted;
        return the names of their accounts."""
        self._note_arrivals()
        accounts: dict[str, Account] = {}
        offsets = self._ledger.state.offsets
        for key, recall in list(self._recalls.items()):
            name, partition = key
            account = accounts.get(name) or self._ledger.accounts[name]
            lease = account.leases[partition]
            if lease.number != recall.number:
                del self._recalls[key]  # a later grant replaces it
            elif recall.end is not None and offsets.get(str(partition), 0) >= recall.end:
                accounts[name] = account.with_lease(partition, lease.confirm())
                del self._recalls[key]
        if accounts:
            self._ledger.put_accounts(accounts)
            self._names_to_publish |= self._ledger.take_changed_accounts()
        return set(accounts)

    def _note_arrivals(self) -> None:
        unconfirmed_recalls = {
            key: recall for key, recall in self._recalls.items() if recall.end is None
        }
        offsets = self._writer.processed_offsets(
            {partition for _, partition in unconfirmed_recalls}
        )
        ends: dict[int, int] = {}
        for (name, partition), recall in unconfirmed_recalls.items():
            if offsets[partition] > recall.offset:
                if partition not in ends:
                    ends[partition] = self._writer.decisions_end(partition)
                self._recalls[name, partition] = replace(recall, end=ends[partition])


_CALENDAR_PERIODS: Final = frozenset(("day", "week", "month"))


def _renew_outdated_prices(account: Account) -> Account:
    """Return the account with new grants for partitions that have an outdated price."""
    price = account.pace.price
    numbers: Iterable[int] = (
        number
        for number, lease in account.leases.items()
        if not lease.recalled and abs(lease.price - price) > _PRICE_TOLERANCE * (1 + price)
    )
    leases = {
        number: replace(lease, number=lease.number + 1, price=price)
        for number in numbers
        for lease in (account.leases[number],)
    }
    return replace(account, leases={**account.leases, **leases}) if leases else account


def _grant_of(account: Account, partition: int) -> Grant:
    lease, period = account.leases[partition], account.period
    return Grant(
        budget=account.name,
        period=period.name,
        begins=period.begins,
        ends=period.ends,
        number=lease.number,
        granted=lease.ceiling,
        price=lease.price,
    )
