"""Allocation of budgets: grants to partitions, and recalls from them. Pure.

Each partition has one lease to spend and, while there is enough, one ahead, so that no decision
waits for a grant. A lease is a part of what is left, so that little is left idle in the end. Where
a candidate lacked tokens and none are free, those of the partitions that have spent nothing for the
longest time are recalled.
"""

from collections.abc import Iterator
from typing import Final

from msgspec.structs import replace

from pipeline.decisioning.budgets.accounts import Account, PartitionLease

_LEASES_AHEAD: Final = 2
_SHARES: Final = 4
"""A lease is what is left, divided by this and by the number of partitions."""


def allocate(account: Account, unit: int, partitions: int, most: int) -> Account:
    """Return the account after grants and recalls.

    `unit`: the dearest message; less than that is of no use; `most`: tokens that may be granted.
    """
    account = _complete(account, partitions)
    account = _forget_met_wants(account)
    if account.free < 0:
        return _recall(account, -account.free)
    most = min(most, account.free)
    share = account.left // (_SHARES * partitions)
    if not any(one.ceiling for one in account.leases.values()):
        share = min(share, most // partitions)  # a period begins with something for everybody
    share = max(share, unit, 1)
    for goal in range(share, _LEASES_AHEAD * share + 1, share):
        for number in _by_need(account):
            lease = account.leases[number]
            by = min(goal - lease.left, most)
            least = lease.wanted - lease.left if lease.wanted else min(unit, goal - lease.left)
            if lease.recalled or by <= 0 or by < least:
                continue
            account = account.with_lease(number, lease.lift(by, account.pace.price))
            most -= by
    missing = _missing(account)
    return _recall(account, missing) if missing > 0 else account


def recall_all(account: Account) -> Account:
    """Return the account with nothing leased: its budget is not spent any more."""
    return _recall(account, sum(one.left for one in account.leases.values()))


def _complete(account: Account, partitions: int) -> Account:
    missing = {number: PartitionLease() for number in range(partitions)}
    if missing.keys() <= account.leases.keys():
        return account
    return replace(account, leases={**missing, **account.leases})


def _forget_met_wants(account: Account) -> Account:
    """Forget the wants of partitions that have enough, since these were granted meanwhile."""
    met = {
        number: replace(one, wanted=0)
        for number, one in account.leases.items()
        if one.wanted and one.left >= one.wanted and not one.recalled
    }
    return replace(account, leases={**account.leases, **met}) if met else account


def _by_need(account: Account) -> list[int]:
    """Return the partitions, those first that wanted something, then those that have least."""
    leases = account.leases
    return sorted(leases, key=lambda one: (not leases[one].wanted, leases[one].left, one))


def _missing(account: Account) -> int:
    """Return the tokens to take back, so that the least that a partition wants can be granted."""
    lacking = [
        one.wanted - one.left
        for one in account.leases.values()
        if one.wanted and not one.recalled and one.wanted > one.left
    ]
    if not lacking or min(lacking) > account.left:
        return 0
    in_flight = sum(one.promised - one.ceiling for one in account.leases.values() if one.recalled)
    return min(lacking) - account.free - in_flight


def _recall(account: Account, amount: int) -> Account:
    """Return the account after taking back at least `amount` tokens, as far as there are any."""
    for number in _idle_first(account):
        if amount <= 0:
            break
        lease = account.leases[number]
        amount -= lease.left
        account = account.with_lease(number, lease.recall())
    return account


def _idle_first(account: Account) -> Iterator[int]:
    """Yield the partitions to take back from; never from the one that wants least."""
    leases = account.leases
    wanting = [number for number in leases if leases[number].wanted]
    first = min(wanting, key=lambda one: leases[one].wanted - leases[one].left, default=None)
    holding = [
        number
        for number, one in leases.items()
        if one.left > 0 and not one.recalled and number != first
    ]
    # A partition that wants more than it has cannot use what it has.
    yield from sorted(holding, key=lambda one: (not leases[one].wanted, leases[one].spent_at, one))
