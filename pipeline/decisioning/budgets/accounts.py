"""Accounts of budgets and stock: tokens leased to each partition, spent, and released. Pure.

The owner of a partition may spend up to a ceiling in all of the period. It gets the ceiling by a
record in that partition, and every Decision records its spending; both are read in order. So

    sum over partitions of max(promised, spent) <= amount + released

holds after crashes, delays and redelivery: `promised` is the highest ceiling that a partition may
still spend by. A lower ceiling counts once the partition has certainly read it and its earlier
decisions are counted (`confirm`).
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from pipeline.config.budgets import BudgetPeriod, BudgetRule, is_stock
from pipeline.decisioning.constraints import BUDGET_PREFIX
from pipeline.model.budget import TOKENS, BudgetLease, BudgetRecord, tokens, units
from pipeline.model.decision import Decision, Spend
from pipeline.model.time import DAY_MS, MINUTE_MS

_HOLD_MS: Final = 2_000
_MAX_HOLD_MS: Final = 64_000


class PartitionLease(Struct, frozen=True):
    """Lease of one partition. `ceiling`: the newest, of the grant `number`; `price`: as granted.

    `wanted`: tokens that a candidate lacked, first at `wanted_since` and last at `asked_at`;
    `spent_at`: time of the last spending; `granted_at`: time of the last grant of more tokens, of
    which none is spent yet where `unused`. For `hold_ms` from then, no tokens are taken back for
    other partitions; the hold doubles each time that no token was spent during it. Times are epoch
    ms.
    """

    number: int = 0
    ceiling: int = 0
    promised: int = 0
    spent: int = 0
    wanted: int = 0
    spent_at: int = 0
    price: float = 0.0
    wanted_since: int = 0
    asked_at: int = 0
    granted_at: int = 0
    unused: bool = False
    hold_ms: int = _HOLD_MS

    @property
    def left(self) -> int:
        """Tokens that may still be spent."""
        return max(self.promised - self.spent, 0)

    @property
    def exposure(self) -> int:
        """Tokens that are spent, or may be spent."""
        return max(self.promised, self.spent)

    @property
    def recalled(self) -> bool:
        """Whether a lower ceiling is on its way."""
        return self.ceiling < self.promised

    @property
    def shortage(self) -> int:
        """Tokens that are wanted and not left; 0 while a recall is under way."""
        return 0 if self.recalled else max(self.wanted - self.left, 0)

    def is_held(self, now_ms: int) -> bool:
        """Return whether no token may be taken back for other partitions yet."""
        return now_ms < self.granted_at + self.hold_ms

    def lift(self, added_tokens: int, price: float, now_ms: int) -> "PartitionLease":
        """Return the lease with `added_tokens` more to spend."""
        ceiling = self.exposure + added_tokens
        return replace(
            self,
            number=self.number + 1,
            ceiling=ceiling,
            promised=ceiling,
            wanted=0,
            price=price,
            granted_at=now_ms,
            unused=True,
        )

    def recall(self) -> "PartitionLease":
        """Return the lease with nothing more to spend, once the partition has received it."""
        hold_ms = min(self.hold_ms * (2 if self.unused else 1), _MAX_HOLD_MS)
        return replace(
            self, number=self.number + 1, ceiling=self.spent, unused=False, hold_ms=hold_ms
        )

    def want(self, amount: int, now_ms: int) -> "PartitionLease":
        """Return the lease once a candidate lacked `amount` tokens; the smallest shortage
        counts."""
        since = self.wanted_since if self.wanted else now_ms
        need = min(self.wanted or amount, amount)
        return replace(self, wanted=need, wanted_since=since, asked_at=now_ms)

    def spend(self, amount: int, spent_at: int) -> "PartitionLease":
        """Return the lease after `amount` tokens were spent at a time."""
        return replace(
            self,
            spent=self.spent + amount,
            spent_at=max(spent_at, self.spent_at),
            unused=False,
            hold_ms=_HOLD_MS,
        )

    def confirm(self) -> "PartitionLease":
        """Return the lease once the partition spends by the newest ceiling and its spending under
        earlier ones is counted."""
        return replace(self, promised=max(self.ceiling, self.spent))


class BudgetPace(Struct, frozen=True):
    """Pace of spending: shadow `price`, the time (ms) it was set, and the tokens spent by then;
    `since` (ms): when the account was opened."""

    price: float = 0.0
    at: int = 0
    spent: int = 0
    since: int = 0


class Account(Struct, frozen=True):
    """Account of one budget in its running period.

    `counted`: where it was reopened from its record, the offsets of `decisions` up to which all
    decisions are counted, as of `counted_at` (ms); `late`, `expiring`: see `BudgetRecord`.
    """

    name: str
    period: BudgetPeriod
    amount: int
    leases: dict[int, PartitionLease] = field(default_factory=dict)
    committed: int = 0
    released: int = 0
    late: int = 0
    pace: BudgetPace = BudgetPace()
    counted: dict[str, int] = field(default_factory=dict)
    counted_at: int = 0
    expiring: int = 0

    @property
    def gross_spending(self) -> int:
        """Tokens ever spent, released or not."""
        return sum(lease.spent for lease in self.leases.values())

    @property
    def net_spending(self) -> int:
        """Tokens spent and not released."""
        return self.gross_spending - self.released

    @property
    def left(self) -> int:
        """Tokens that are not spent, leased or not."""
        return self.amount - self.net_spending

    @property
    def free(self) -> int:
        """Tokens that are neither spent nor leased; negative when the amount was lowered."""
        return self.amount + self.released - sum(lease.exposure for lease in self.leases.values())

    def lease_of(self, partition: int) -> PartitionLease:
        """Return the lease of a partition."""
        return self.leases.get(partition, _NO_LEASE)

    def with_lease(self, partition: int, lease: PartitionLease) -> "Account":
        """Return the account with this lease."""
        return replace(self, leases={**self.leases, partition: lease})


_ACTION_RETENTION_MS: Final = 40 * DAY_MS
"""Retention of an action's spending: longer than outcomes are accepted."""
_OUTCOME_RETENTION_MS: Final = 60 * MINUTE_MS
"""Retention of an outcome that was read before its decision."""
OVERDUE: Final = "overdue"
"""Status of a reservation that had expired when the account's record was published: released,
unless the learner had received it late (see `Account.expiring`)."""
_EARLY_OPENING_MS: Final = 10_000
_NO_LEASE: Final = PartitionLease()


def open_account(rule: BudgetRule, account: Account | None, now_ms: int) -> Account:
    """Return the account of a budget in the period that runs at `now_ms` or begins shortly after.

    A period is opened `_EARLY_OPENING_MS` before it begins, so that its first decisions find its
    leases. Meanwhile partitions spend their leases of the previous one. A new period begins with
    nothing spent; grant numbers continue, so that old grants are recognised.
    """
    period = rule.period(now_ms + _EARLY_OPENING_MS)
    if account is None:
        return Account(rule.name, period, rule.amount, pace=BudgetPace(at=now_ms, since=now_ms))
    if account.period.name == period.name:
        return account if account.amount == rule.amount else replace(account, amount=rule.amount)
    leases = {
        number: PartitionLease(number=lease.number + 1) for number, lease in account.leases.items()
    }
    begins_at = max(now_ms, period.begins)
    pace = BudgetPace(account.pace.price, begins_at, 0, begins_at)
    return Account(rule.name, period, rule.amount, leases, pace=pace)


class SpentAction(Struct, frozen=True, array_like=True):
    """Spending of an action: its parts of (budget, period, tokens); released at `until`
    (ms), unless it was reported as shown. `forget_at` (ms): no report comes later."""

    parts: tuple[tuple[str, str, int], ...] = ()
    status: str = "reserved"
    until: int | None = None
    forget_at: int = 0

    @property
    def due(self) -> int:
        """Time (ms) at which the action expires, or is forgotten."""
        if self.until is not None and self.status == "reserved":
            return self.until
        return self.forget_at


class SpendingCount(Struct):
    """Accounts while decisions are counted, at `now_ms`. `find`: stored spending of an action;
    `actions`, `changed_accounts`: those that changed."""

    accounts: Mapping[str, Account]
    find: Callable[[str], SpentAction | None]
    now_ms: int
    actions: dict[str, SpentAction] = field(default_factory=dict)
    changed_accounts: dict[str, Account] = field(default_factory=dict)

    def count_decision(self, decision: Decision, partition: int, offset: int) -> None:
        """Count a decision at this offset of its partition."""
        for spend in decision.spends:
            if spend.what == "reserved":
                self._reserve(spend, decision.decided_at, partition, offset)
            else:
                self._settle(spend.action_id, spend.what, partition, offset)
        for name, amount in _shortages(decision):
            account = self._account(name)
            if account is not None:
                lease = account.lease_of(partition).want(amount, self.now_ms)
                self.changed_accounts[name] = account.with_lease(partition, lease)

    def expire(self, action_id: str) -> None:
        """Release the tokens of an action that was not reported as shown."""
        self._settle(action_id, "released", -1, 0)

    def _reserve(self, spend: Spend, decided_at: int, partition: int, offset: int) -> None:
        action, amount = self._action(spend.action_id) or SpentAction(), tokens(spend.amount)
        part = (spend.budget, spend.period, amount)
        if part in action.parts:
            return  # redelivered
        account = self._current_account(spend.budget, spend.period)
        is_counted = account is not None and _is_counted(account, partition, offset)
        status, until = action.status, spend.until
        if is_counted and account is not None and until is not None and until <= account.counted_at:
            status = OVERDUE if status == "reserved" else status
            until = account.counted_at + until - decided_at
        elif not is_counted and until is not None and until <= self.now_ms:
            until = self.now_ms + until - decided_at  # a log's own time, or received late
        forget_at = max(decided_at, self.now_ms) + _ACTION_RETENTION_MS
        parts = (*action.parts, part)
        self.actions[spend.action_id] = SpentAction(parts, status, until, forget_at)
        if account is None or is_counted:
            return
        account = account.with_lease(
            partition, account.lease_of(partition).spend(amount, decided_at)
        )
        if status != "reserved":  # its outcome was read before it, from another partition
            account = _settle_account(account, "reserved", status, amount)
        elif until is not None:
            account = replace(account, expiring=account.expiring + amount)
        self.changed_accounts[account.name] = account

    def _settle(self, action_id: str, status: str, partition: int, offset: int) -> None:
        action = self._action(action_id)
        if action is None:
            forget_at = self.now_ms + _OUTCOME_RETENTION_MS
            self.actions[action_id] = SpentAction((), status, None, forget_at)
            return
        if action.status in (status, "committed"):
            return
        self.actions[action_id] = replace(action, status=status)
        if action.status == OVERDUE and status == "released":
            return
        for name, period, amount in action.parts:
            account = self._current_account(name, period)
            if account is not None and not _is_counted(account, partition, offset):
                if action.status == "reserved" and action.until is not None:
                    expiring = max(account.expiring - amount, 0)
                    account = replace(account, expiring=expiring)
                self.changed_accounts[name] = _settle_account(
                    account, action.status, status, amount
                )

    def _action(self, action_id: str) -> SpentAction | None:
        return self.actions.get(action_id) or self.find(action_id)

    def _account(self, name: str) -> Account | None:
        return self.changed_accounts.get(name) or self.accounts.get(name)

    def _current_account(self, name: str, period: str) -> Account | None:
        account = self._account(name)
        return account if account is not None and account.period.name == period else None


def _settle_account(account: Account, former_status: str, status: str, amount: int) -> Account:
    """Return the account once `amount` tokens are committed or released."""
    if status == "released":
        return replace(account, released=account.released + amount)
    if former_status == "reserved":
        return replace(account, committed=account.committed + amount)
    # Shown although released: counts only while the tokens have not been promised again.
    if account.free < amount:
        return replace(account, late=account.late + amount)
    return replace(
        account, released=account.released - amount, committed=account.committed + amount
    )


def _is_counted(account: Account, partition: int, offset: int) -> bool:
    return offset < account.counted.get(str(partition), 0)


def _shortages(decision: Decision) -> Iterable[tuple[str, int]]:
    """Yield the budgets that held a candidate back, and the stocks that are used up, each with the
    tokens that were wanted."""
    for candidate in decision.candidates:
        if candidate.fate.startswith(BUDGET_PREFIX):
            name = candidate.fate.removeprefix(BUDGET_PREFIX)
            yield name, TOKENS if is_stock(name) else tokens(candidate.cost)
    for budget in decision.budgets:
        if is_stock(budget.budget) and tokens(budget.left) < TOKENS:
            yield budget.budget, TOKENS


def record_of(account: Account, offsets: Mapping[str, int], now_ms: int) -> BudgetRecord:
    """Return the account as a record of `budgets`."""
    return BudgetRecord(
        name=account.name,
        period=account.period.name,
        begins_at=account.period.begins,
        ends_at=account.period.ends,
        budget=units(account.amount),
        spent=units(account.net_spending),
        committed=units(account.committed),
        leased=units(sum(lease.left for lease in account.leases.values())),
        price=account.pace.price,
        published_at=now_ms,
        released=units(account.released),
        late=units(account.late),
        leases=tuple(
            BudgetLease(number, lease.number, units(lease.exposure), units(lease.spent))
            for number, lease in sorted(account.leases.items())
        ),
        offsets={
            number: max(offsets.get(number, 0), account.counted.get(number, 0))
            for number in offsets.keys() | account.counted.keys()
        },
        expiring=units(account.expiring),
    )


def account_of(record: BudgetRecord) -> Account:
    """Return the account of a published record, with all grants up to its publication."""
    leases = {
        lease.partition: PartitionLease(
            number=lease.number,
            ceiling=tokens(lease.granted),
            promised=tokens(lease.granted),
            spent=tokens(lease.spent),
            price=record.price,
        )
        for lease in record.leases
    }
    return Account(
        name=record.name,
        period=BudgetPeriod(record.period, record.begins_at, record.ends_at),
        amount=tokens(record.budget),
        leases=leases,
        committed=tokens(record.committed),
        released=tokens(record.released),
        late=tokens(record.late),
        pace=BudgetPace(
            record.price, record.published_at, tokens(record.spent), record.published_at
        ),
        counted=dict(record.offsets),
        counted_at=record.published_at,
        expiring=tokens(record.expiring),
    )
