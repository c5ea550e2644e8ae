"""Allocation of budgets: grants to partitions, and recalls from them. Pure.

Each partition has one lease to spend and, while there is enough, one ahead, so that no decision
waits for a grant. A lease is a part of what is left, so that little is left idle in the end.

Where a candidate lacked tokens, its partition wants them. While there are too few free ones, only
partitions that want some get any, one after the other (`_queue`), and what others have left is
taken back, from those first that have spent nothing for the longest time. So a partition whose
customers keep asking gets what it lacks after at most each other partition had it once. It keeps it
for a hold, so that its next customer finds it, and its hold doubles where none came in that time:
once it is longer than the time between two of its customers, and what a grant takes to arrive, the
next one gets it, whoever asks elsewhere.
"""

from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from pipeline.decisioning.budgets.accounts import Account, PartitionLease

_LEASES_AHEAD: Final = 2
_SHARES: Final = 4
"""A lease is what is left, divided by this and by the number of partitions."""
_RECENT_MS: Final = 60_000
"""Age at which a want yields to younger ones: its customers may have left."""


def allocate(account: Account, unit: int, partitions: int, most: int, now_ms: int) -> Account:
    """Return the account after grants and recalls.

    `unit`: the dearest message; less than that is of no use; `most`: tokens that may be granted.
    """
    account = _complete(account, partitions)
    account = _forget_met_wants(account)
    if account.free < 0:
        return _recall(account, -account.free, _idle_first(account, account.leases))
    account = _grant(account, unit, min(most, account.free), now_ms)
    queue = _queue(account, now_ms)
    in_flight = sum(one.promised - one.ceiling for one in account.leases.values() if one.recalled)
    missing = _lacking(account, queue) - account.free - in_flight
    return _recall(account, missing, _recallable(account, queue, now_ms))


def recall_all(account: Account) -> Account:
    """Return the account with nothing leased: its budget is not spent any more."""
    leased = sum(one.left for one in account.leases.values())
    return _recall(account, leased, _idle_first(account, account.leases))


def has_waiting(account: Account) -> bool:
    """Return whether a partition lacks tokens that it can get in time."""
    return any(_can_get(account, one) for one in account.leases.values())


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
        if one.wanted and not one.lacking and not one.recalled
    }
    return replace(account, leases={**account.leases, **met}) if met else account


def _grant(account: Account, unit: int, most: int, now_ms: int) -> Account:
    """Return the account after grants of at most `most` tokens."""
    partitions, queue = len(account.leases), _queue(account, now_ms)
    share = account.left // (_SHARES * partitions)
    if not any(one.ceiling for one in account.leases.values()):
        share = min(share, most // partitions)  # a period begins with something for everybody
    share = max(share, unit, 1)
    order, leases_each = (*queue, *_poorest_first(account, queue)), _LEASES_AHEAD
    if _lacking(account, queue) > account.free:
        order, leases_each = tuple(queue), 1  # what is too little for these is for nobody else
    for goal in range(share, leases_each * share + 1, share):
        for number in order:
            lease = account.leases[number]
            by = min(goal - lease.left, most)
            least = lease.wanted - lease.left if lease.wanted else min(unit, goal - lease.left)
            if lease.recalled or by <= 0 or by < least:
                continue
            account = account.with_lease(number, lease.lift(by, account.pace.price, now_ms))
            most -= by
    return account


def _can_get(account: Account, lease: PartitionLease) -> bool:
    return lease.lacking > 0 and lease.wanted <= account.left


def _queue(account: Account, now_ms: int) -> list[int]:
    """Return the partitions that lack tokens, in the order in which they get them: the least lack
    first, then who asked lately, then who has waited longest."""
    leases = account.leases
    return sorted(
        (number for number, one in leases.items() if _can_get(account, one)),
        key=lambda one: (
            leases[one].lacking,
            now_ms - leases[one].asked_at > _RECENT_MS,
            leases[one].wanted_since,
            one,
        ),
    )


def _lacking(account: Account, queue: Iterable[int]) -> int:
    return sum(account.leases[number].lacking for number in queue)


def _poorest_first(account: Account, besides: Iterable[int]) -> list[int]:
    leases = account.leases
    return sorted(leases.keys() - set(besides), key=lambda one: (leases[one].left, one))


def _recall(account: Account, amount: int, order: Iterable[int]) -> Account:
    """Return the account after taking back at least `amount` tokens, as far as there are any."""
    for number in order:
        if amount <= 0:
            break
        lease = account.leases[number]
        amount -= lease.left
        account = account.with_lease(number, lease.recall())
    return account


def _recallable(account: Account, queue: list[int], now_ms: int) -> list[int]:
    """Return the partitions to take back from for the first in the queue. Those behind it cannot
    use what they have, for they lack more; what others have is held for a while."""
    free = [
        number
        for number in account.leases.keys() - set(queue)
        if not account.leases[number].is_held(now_ms)
    ]
    return [*_idle_first(account, queue[1:]), *_idle_first(account, free)]


def _idle_first(account: Account, numbers: Iterable[int]) -> list[int]:
    """Return those partitions that have something left, the longest idle first."""
    leases = account.leases
    holding = (one for one in numbers if leases[one].left > 0 and not leases[one].recalled)
    return sorted(holding, key=lambda one: (leases[one].spent_at, one))
