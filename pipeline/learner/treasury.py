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
from pipeline.learner.allocation import allocate, has_waiting, recall_all
from pipeline.learner.lease_writer import LeaseWriter
from pipeline.learner.ledger import EvidenceLedger
from pipeline.model.budget import Grant, units

_PUBLISH_EVERY_MS: Final = 1_000
_LIKE: Final = 0.01
"""Relative difference of prices below which no new record is written."""


class _Recall(Struct, frozen=True):
    """Recall in flight: its grant's number, the offset of its record, and the end of `decisions`
    once workers have processed it; earlier decisions are counted up to there."""

    number: int
    offset: int
    end: int | None = None


class Treasury:
    """Treasury over the ledger's accounts, as workers and readers of `budgets` know them."""

    def __init__(self, ledger: EvidenceLedger, writer: LeaseWriter, partitions: int) -> None:
        self._ledger = ledger
        self._writer = writer
        self._partitions = partitions
        self._sent_numbers: dict[tuple[str, int], int] = {}
        self._recalls: dict[tuple[str, int], _Recall] = {}
        self._offsets: dict[int, int] = {}
        self._digest: str | None = None
        self._waited_for: set[str] = set()
        self._unpublished: set[str] = set()
        self._published_ms = 0

    def work(self, config: Configuration, now_ms: int) -> None:
        """Confirm recalls, set prices, grant and recall, and publish the changes.

        Raises KafkaException, AnotherLearnerError.
        """
        ledger, rules = self._ledger, config.budgets
        ledger.expire_spent(now_ms)
        touched = ledger.take_changed_accounts()
        self._unpublished |= touched
        touched |= self._confirm()
        if self._digest != config.digest:
            touched |= rules.keys() | ledger.accounts.keys()
        if self._digest is None:
            self._unpublished |= ledger.accounts.keys()
        touched.update(name for name, rule in rules.items() if rule.ends or rule.per in _TIMED)
        touched |= self._waited_for  # the hold of a lease may have ended
        changed = {
            name: after
            for name in sorted(touched)
            if (after := self._revise(name, rules.get(name), now_ms)) is not None
        }
        if changed:
            ledger.put_accounts(changed)
            ledger.take_changed_accounts()
            self._unpublished |= changed.keys()
        self._send_grants(changed, config.digest, now_ms)
        self._digest = config.digest

    def is_processed(self) -> bool:
        """Return whether workers have processed all grants and recalls."""
        offsets = self._writer.processed(self._offsets)
        return all(offsets[partition] > offset for partition, offset in self._offsets.items())

    def _revise(self, name: str, rule: BudgetRule | None, now_ms: int) -> Account | None:
        """Return the account of a budget as it should be; None if it already is."""
        before = self._ledger.accounts.get(name)
        self._waited_for.discard(name)
        if rule is None:
            after = None if before is None else recall_all(before)
        else:
            after = reprice(open_account(rule, before, now_ms), rule, now_ms)
            most = allowance(after, rule, now_ms)
            after = _renew_outdated_prices(
                allocate(after, rule.unit, self._partitions, most, now_ms)
            )
            if has_waiting(after):
                self._waited_for.add(name)
        return None if after == before else after

    def _send_grants(self, changed: Mapping[str, Account], digest: str, now_ms: int) -> None:
        # After a start it is unknown what the last learner had sent, so all of it is sent again.
        accounts = self._ledger.accounts if self._digest is None else changed
        grants = [
            (partition, _grant(account, partition))
            for account in accounts.values()
            for partition, lease in account.leases.items()
            if lease.number > self._sent_numbers.get((account.name, partition), 0)
        ]
        if grants or now_ms - self._published_ms >= _PUBLISH_EVERY_MS:
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
        accounts = [self._ledger.accounts[name] for name in sorted(self._unpublished)]
        self._writer.publish(accounts, self._ledger.state.offsets, now_ms)
        self._unpublished.clear()
        self._published_ms = now_ms
        for account in accounts:
            if not is_stock(account.name):
                metrics.BUDGET_LEFT.labels(account.name).set(units(account.left))
                metrics.BUDGET_PRICE.labels(account.name).set(account.pace.price)

    def _confirm(self) -> set[str]:
        """Confirm the recalls that have arrived, once all earlier decisions are counted."""
        self._note_arrivals()
        changed: dict[str, Account] = {}
        counted = self._ledger.state.offsets
        for key, recall in list(self._recalls.items()):
            name, partition = key
            account = changed.get(name) or self._ledger.accounts[name]
            lease = account.leases[partition]
            if lease.number != recall.number:
                del self._recalls[key]  # a later grant replaces it
            elif recall.end is not None and counted.get(str(partition), 0) >= recall.end:
                changed[name] = account.with_lease(partition, lease.confirm())
                del self._recalls[key]
        if changed:
            self._ledger.put_accounts(changed)
            self._unpublished |= self._ledger.take_changed_accounts()
        return set(changed)

    def _note_arrivals(self) -> None:
        under_way = {key: recall for key, recall in self._recalls.items() if recall.end is None}
        offsets = self._writer.processed({partition for _, partition in under_way})
        ends: dict[int, int] = {}
        for (name, partition), pending in under_way.items():
            if offsets[partition] > pending.offset:
                if partition not in ends:
                    ends[partition] = self._writer.decided(partition)
                self._recalls[name, partition] = replace(pending, end=ends[partition])


_TIMED: Final = frozenset(("day", "week", "month"))


def _renew_outdated_prices(account: Account) -> Account:
    """Return the account with new grants for partitions that have an outdated price."""
    price = account.pace.price
    old: Iterable[int] = (
        number
        for number, lease in account.leases.items()
        if not lease.recalled and abs(lease.price - price) > _LIKE * (1 + price)
    )
    leases = {
        number: replace(lease, number=lease.number + 1, price=price)
        for number in old
        for lease in (account.leases[number],)
    }
    return replace(account, leases={**account.leases, **leases}) if leases else account


def _grant(account: Account, partition: int) -> Grant:
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
