"""Allocation of budgets: grants to partitions, and recalls from them. Pure.

Each partition has one lease to spend and, while the budget lasts, one in reserve, so that no
decision waits for a grant. A lease is a part of the remaining budget, so that few tokens are idle
near the end.

A partition wants tokens after a candidate lacked them. While too few tokens are free, only
partitions that want some get any, one after the other (`_queue`), and unspent leases of others are
recalled, first from those that have been idle longest. So a partition whose customers keep wanting
tokens gets them after at most one turn of every other partition. It keeps them for a hold time, so
that they are there for its next customer; the hold time doubles after a hold without a customer.
Once the hold exceeds the time between two of its customers plus the delay of a grant, the next
customer gets the tokens, whatever the other partitions want.
"""

from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from pipeline.decisioning.budgets.accounts import Account, PartitionLease

_LEASES_AHEAD: Final = 2
_SHARES: Final = 4
"""Divisor of the remaining budget, times the number of partitions, for one lease."""
_RECENT_MS: Final = 60_000
"""Age at which a want yields to younger ones, because its customers may have left."""


def allocate(
    account: Account, unit: int, partition_count: int, max_tokens: int, now_ms: int
) -> Account:
    """Return the account after grants and recalls.

    `unit`: cost of the dearest message, the smallest useful grant; `max_tokens`: most tokens that
    may be granted.
    """
    account = _complete(account, partition_count)
    account = _clear_met_wants(account)
    if account.free < 0:
        return _recall(account, -account.free, _sort_idle_first(account, account.leases))
    account = _grant(account, unit, min(max_tokens, account.free), now_ms)
    queue = _queue(account, now_ms)
    in_flight_tokens = sum(
        lease.promised - lease.ceiling for lease in account.leases.values() if lease.recalled
    )
    missing_tokens = _lacking_tokens(account, queue) - account.free - in_flight_tokens
    return _recall(account, missing_tokens, _recall_order(account, queue, now_ms))


def recall_all(account: Account) -> Account:
    """Return the account with nothing leased, because its budget is not spent any more."""
    amount = sum(lease.left for lease in account.leases.values())
    return _recall(account, amount, _sort_idle_first(account, account.leases))


def has_waiting_partition(account: Account) -> bool:
    """Return whether a partition lacks tokens that it can get in time."""
    return any(_can_get(account, lease) for lease in account.leases.values())


def _complete(account: Account, partition_count: int) -> Account:
    new_leases = {number: PartitionLease() for number in range(partition_count)}
    if new_leases.keys() <= account.leases.keys():
        return account
    return replace(account, leases={**new_leases, **account.leases})


def _clear_met_wants(account: Account) -> Account:
    """Clear the wants of partitions that have enough tokens, because they were granted
    meanwhile."""
    leases = {
        number: replace(lease, wanted=0)
        for number, lease in account.leases.items()
        if lease.wanted and not lease.shortage and not lease.recalled
    }
    return replace(account, leases={**account.leases, **leases}) if leases else account


def _grant(account: Account, unit: int, max_tokens: int, now_ms: int) -> Account:
    """Return the account after grants of at most `max_tokens` tokens."""
    partitions, queue = len(account.leases), _queue(account, now_ms)
    share = account.left // (_SHARES * partitions)
    if not any(lease.ceiling for lease in account.leases.values()):
        share = min(share, max_tokens // partitions)  # each partition gets a part first
    share = max(share, unit, 1)
    order, leases_each = (*queue, *_sort_poorest_first(account, queue)), _LEASES_AHEAD
    if _lacking_tokens(account, queue) > account.free:
        order, leases_each = tuple(queue), 1  # only the queue gets tokens
    for goal in range(share, leases_each * share + 1, share):
        for number in order:
            lease = account.leases[number]
            amount = min(goal - lease.left, max_tokens)
            min_tokens = lease.wanted - lease.left if lease.wanted else min(unit, goal - lease.left)
            if lease.recalled or amount <= 0 or amount < min_tokens:
                continue
            account = account.with_lease(number, lease.lift(amount, account.pace.price, now_ms))
            max_tokens -= amount
    return account


def _can_get(account: Account, lease: PartitionLease) -> bool:
    return lease.shortage > 0 and lease.wanted <= account.left


def _queue(account: Account, now_ms: int) -> list[int]:
    """Return the partitions that lack tokens, in the order of grants: by the least lack; among
    equals, those that asked recently first, then those that have waited longest."""
    leases = account.leases
    return sorted(
        (number for number, lease in leases.items() if _can_get(account, lease)),
        key=lambda number: (
            leases[number].shortage,
            now_ms - leases[number].asked_at > _RECENT_MS,
            leases[number].wanted_since,
            number,
        ),
    )


def _lacking_tokens(account: Account, queue: Iterable[int]) -> int:
    return sum(account.leases[number].shortage for number in queue)


def _sort_poorest_first(account: Account, excluded_partitions: Iterable[int]) -> list[int]:
    leases = account.leases
    return sorted(
        leases.keys() - set(excluded_partitions), key=lambda number: (leases[number].left, number)
    )


def _recall(account: Account, amount: int, order: Iterable[int]) -> Account:
    """Return the account after recalling `amount` tokens, or as many as there are."""
    for number in order:
        if amount <= 0:
            break
        lease = account.leases[number]
        amount -= lease.left
        account = account.with_lease(number, lease.recall())
    return account


def _recall_order(account: Account, queue: list[int], now_ms: int) -> list[int]:
    """Return the partitions from which to recall tokens for the first in the queue. The partitions
    behind it cannot use their tokens, because they lack more; partitions outside of the queue keep
    theirs for the hold time."""
    free_partitions = [
        number
        for number in account.leases.keys() - set(queue)
        if not account.leases[number].is_held(now_ms)
    ]
    return [*_sort_idle_first(account, queue[1:]), *_sort_idle_first(account, free_partitions)]


def _sort_idle_first(account: Account, numbers: Iterable[int]) -> list[int]:
    """Return the partitions with unspent tokens, the longest idle first."""
    leases = account.leases
    holders = (
        number for number in numbers if leases[number].left > 0 and not leases[number].recalled
    )
    return sorted(holders, key=lambda number: (leases[number].spent_at, number))
