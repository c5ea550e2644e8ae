"""Admission of decisions by measured age: what cannot come in time is answered at once.

Each decision that was asked for and has not come back is known with the moment of its request, by
partition of `interactions`. The age of the oldest of them shows how far the pipeline is behind, for
any reason: a stopped worker, a rebalance, a backlog, too many requests.
"""

from collections import deque
from collections.abc import Callable
from enum import Enum
from itertools import takewhile
from typing import Final

from pipeline.adapters.kafka import partition_for_key

_LEAST_TARGET_S: Final = 0.05
_LEAST_INTERVAL_S: Final = 0.1
_MEMORY_S: Final = 1.0
"""Time for which a gate that was closed closes again without waiting for its interval."""

_PROBE_INTERVALS: Final = 10
"""Intervals between two requests that a closed gate lets through, which may wait in vain."""

_RATE_S: Final = 1.0
"""Time over which replies are counted; a partition without one stands still."""

_BOUNDED_S: Final = 10.0
"""Time after a delay for which the decisions in flight are bounded by what comes back."""

_ROOM: Final = 0.75
"""Share of a budget within which all that are in flight should come back."""

_LEAST_ROOM: Final = 4
"""Decisions that are in service, one in each stage, and so are no queue."""

_LONGEST_RETRY_S: Final = 30


class AdmissionVerdict(Enum):
    """Verdict on a request for a decision.

    ADMIT: ask for it. STALLED: nothing comes back, so answer by default. OVERLOADED: what comes
    back comes too late, so refuse, which lets the queue drain.
    """

    ADMIT = "admit"
    STALLED = "stalled"
    OVERLOADED = "overloaded"


class DelayGate:
    """Gate that closes once a delay has been above `target_s` for `interval_s`, after CoDel.

    A delay that passes within the interval is a burst, which a queue is there for (RFC 8289). While
    the gate is closed it lets one through per ten intervals, by which it opens again where nothing
    else is in flight.
    """

    def __init__(self, target_s: float, interval_s: float) -> None:
        self._target_s = target_s
        self._interval_s = interval_s
        self._above_since: float | None = None
        self._closed_at = self._let_through_at = float("-inf")

    def note(self, delay_s: float, now_s: float) -> None:
        """Note a delay as of `now_s`."""
        if delay_s <= self._target_s:
            self._above_since = None
        elif self._above_since is None:
            self._above_since = now_s - (delay_s - self._target_s)

    def is_open(self, delay_s: float, now_s: float) -> bool:
        """Note a delay, and return whether one more may pass."""
        self.note(delay_s, now_s)
        if self._above_since is None:
            return True
        patience_s = 0.0 if self.was_closed(now_s, _MEMORY_S) else self._interval_s
        if now_s - self._above_since < patience_s:
            return True
        self._closed_at = now_s
        if now_s - self._let_through_at < self._interval_s * _PROBE_INTERVALS:
            return False
        self._let_through_at = now_s
        return True

    def was_closed(self, now_s: float, within_s: float) -> bool:
        """Return whether the gate was closed `within_s` of now."""
        return now_s - self._closed_at < within_s


class _InFlight:
    """Decisions of one partition that have not come back, in the order asked."""

    def __init__(self, gate: DelayGate) -> None:
        self.gate = gate
        self._asked: dict[str, float] = {}
        self._replied: deque[float] = deque()

    def add(self, request_id: str, now_s: float) -> None:
        self._asked[request_id] = now_s

    def remove(self, request_id: str, now_s: float) -> list[str]:
        """Remove a decision that came back, and those asked before it; return all of them.

        A partition is in order, so that these have passed too: some never come back, such as those
        on an event that was decided before.
        """
        passed = [*takewhile(lambda one: one != request_id, self._asked), request_id]
        for one in passed:
            del self._asked[one]
        self._replied.append(now_s)
        self.gate.note(self.oldest_age_s(now_s), now_s)
        return passed

    def oldest_age_s(self, now_s: float) -> float:
        return now_s - next(iter(self._asked.values()), now_s)

    def replies_per_s(self, now_s: float) -> float:
        """Return the replies of the last second."""
        while self._replied and now_s - self._replied[0] > _RATE_S:
            self._replied.popleft()
        return len(self._replied) / _RATE_S

    def has_room(self, within_s: float, now_s: float) -> bool:
        """Return whether another decision would come back `within_s`, by Little's law."""
        rate = self.replies_per_s(now_s)
        return not rate or len(self._asked) < max(_LEAST_ROOM, rate * within_s)


class DecisionAdmission:
    """Admission of the decisions of one gateway.

    `partitions`: of `interactions`; `budget_s`: usual time budget; `clock` returns seconds that
    never go back. A machine that takes most of a budget for each is slow and not behind.
    """

    def __init__(self, partitions: int, budget_s: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        interval_s = max(budget_s, _LEAST_INTERVAL_S)
        self._target_s = max(budget_s, _LEAST_TARGET_S)
        gates = [DelayGate(self._target_s, interval_s) for _ in range(partitions + 1)]
        *queue_gates, self._loop_gate = gates
        self._queues = [_InFlight(gate) for gate in queue_gates]
        self._by_request: dict[str, _InFlight] = {}

    def is_loop_in_time(self, began_s: float) -> bool:
        """Return whether this process keeps up, by a request that began at `began_s`."""
        now_s = self._clock()
        return self._loop_gate.is_open(now_s - began_s, now_s)

    def judge(self, key: str, budget_s: float) -> AdmissionVerdict:
        """Return whether a decision on the key of an interaction may be asked for now.

        After a delay of a partition, only as many are in flight as come back in time, since the
        age of the oldest shows an overload only once it is queued.
        """
        queue, now_s = self._queue_of(key), self._clock()
        target_s = max(self._target_s, budget_s)
        age_s = queue.oldest_age_s(now_s)
        is_open = queue.gate.is_open(age_s, now_s) or age_s <= target_s
        is_bounded = queue.gate.was_closed(now_s, _BOUNDED_S)
        if is_open and (not is_bounded or queue.has_room(target_s * _ROOM, now_s)):
            return AdmissionVerdict.ADMIT
        return (
            AdmissionVerdict.OVERLOADED if queue.replies_per_s(now_s) else AdmissionVerdict.STALLED
        )

    def retry_after_s(self, key: str) -> int:
        """Return the whole seconds after which a refused request may be sent again."""
        age_s = self._queue_of(key).oldest_age_s(self._clock())
        return max(1, min(round(age_s), _LONGEST_RETRY_S))

    def ask(self, request_id: str, key: str) -> None:
        """Note that a decision is asked for."""
        queue = self._by_request[request_id] = self._queue_of(key)
        queue.add(request_id, self._clock())

    def note_reply(self, request_id: str) -> None:
        """Note that a decision came back, in time or late."""
        queue = self._by_request.get(request_id)
        if queue is not None:
            for passed in queue.remove(request_id, self._clock()):
                del self._by_request[passed]

    def oldest_age_s(self) -> float:
        """Return the age of the oldest decision that has not come back."""
        now_s = self._clock()
        return max(queue.oldest_age_s(now_s) for queue in self._queues)

    def _queue_of(self, key: str) -> _InFlight:
        return self._queues[partition_for_key(key, len(self._queues))]
