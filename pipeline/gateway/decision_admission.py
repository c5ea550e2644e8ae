"""Admission of decisions by measured age: requests that cannot be decided in time are answered at
once.

Decisions in flight are recorded with the time of their request, by partition of `interactions`. The
age of the oldest shows the pipeline's delay for any reason: a stopped worker, a rebalance, a
backlog, too many requests.
"""

from collections import deque
from collections.abc import Callable
from enum import Enum
from itertools import takewhile
from typing import Final

from pipeline.adapters.kafka import partition_for_key

_MIN_TARGET_S: Final = 0.05
_MIN_INTERVAL_S: Final = 0.1
_MEMORY_S: Final = 1.0
"""Time for which a formerly closed gate closes again without waiting for its interval."""

_PROBE_INTERVAL_COUNT: Final = 10
"""Number of intervals between two requests that a closed gate admits, which may wait in vain."""

_RATE_S: Final = 1.0
"""Time over which replies are counted; a partition without replies is stalled."""

_BOUND_S: Final = 10.0
"""Time after a delay for which the rate of replies bounds the decisions in flight."""

_BUDGET_SHARE: Final = 0.75
"""Share of a budget within which all decisions in flight should return."""

_MIN_IN_FLIGHT: Final = 4
"""Number of decisions in service, one in each stage, which are not a queue."""

_MAX_RETRY_S: Final = 30


class AdmissionVerdict(Enum):
    """Verdict on a request for a decision.

    ADMIT: request the decision. STALLED: no replies arrive, so answer by default. OVERLOADED:
    replies arrive too late, so refuse, which lets the queue drain.
    """

    ADMIT = "admit"
    STALLED = "stalled"
    OVERLOADED = "overloaded"


class DelayGate:
    """Gate that closes once a delay has been above `target_s` for `interval_s`, after CoDel.

    A delay that passes within the interval is a burst, which queues absorb (RFC 8289). A closed
    gate admits one request per ten intervals, by which it opens again when nothing else is in
    flight.
    """

    def __init__(self, target_s: float, interval_s: float) -> None:
        self._target_s = target_s
        self._interval_s = interval_s
        self._excess_start_s: float | None = None
        self._last_closed_s = self._last_probe_s = float("-inf")

    def note(self, delay_s: float, now_s: float) -> None:
        """Note a delay as of `now_s`."""
        if delay_s <= self._target_s:
            self._excess_start_s = None
        elif self._excess_start_s is None:
            self._excess_start_s = now_s - (delay_s - self._target_s)

    def admit(self, delay_s: float, now_s: float) -> bool:
        """Note a delay, and a request where it may pass; return whether it may."""
        self.note(delay_s, now_s)
        if self._excess_start_s is None:
            return True
        patience_s = 0.0 if self.was_closed(now_s, _MEMORY_S) else self._interval_s
        if now_s - self._excess_start_s < patience_s:
            return True
        self._last_closed_s = now_s
        if now_s - self._last_probe_s < self._interval_s * _PROBE_INTERVAL_COUNT:
            return False
        self._last_probe_s = now_s
        return True

    def was_closed(self, now_s: float, period_s: float) -> bool:
        """Return whether the gate was closed within the last `period_s`."""
        return now_s - self._last_closed_s < period_s


class _InFlightDecisions:
    """Decisions in flight of one partition, in the order of requests."""

    def __init__(self, gate: DelayGate) -> None:
        self.gate = gate
        self._request_times: dict[str, float] = {}
        self._reply_times: deque[float] = deque()

    def add(self, request_id: str, now_s: float) -> None:
        self._request_times[request_id] = now_s

    def remove(self, request_id: str, now_s: float) -> list[str]:
        """Remove a decision with a reply, and those requested before it; return all their ids.

        A partition is processed in order, so the earlier decisions are finished too: some never
        have a reply, such as a decision on an event that was decided before.
        """
        finished_ids = [
            *takewhile(lambda other_id: other_id != request_id, self._request_times),
            request_id,
        ]
        for finished_id in finished_ids:
            del self._request_times[finished_id]
        self._reply_times.append(now_s)
        self.gate.note(self.oldest_age_s(now_s), now_s)
        return finished_ids

    def oldest_age_s(self, now_s: float) -> float:
        return now_s - next(iter(self._request_times.values()), now_s)

    def replies_per_s(self, now_s: float) -> float:
        """Return the replies of the last second."""
        while self._reply_times and now_s - self._reply_times[0] > _RATE_S:
            self._reply_times.popleft()
        return len(self._reply_times) / _RATE_S

    def has_room(self, limit_s: float, now_s: float) -> bool:
        """Return whether another decision would return within `limit_s`, by Little's law."""
        rate = self.replies_per_s(now_s)
        return not rate or len(self._request_times) < max(_MIN_IN_FLIGHT, rate * limit_s)


class DecisionAdmission:
    """Admission of the decisions of one gateway.

    `partition_count`: of `interactions`; `budget_s`: default time budget; `clock` returns monotonic
    seconds. Targets and intervals have a minimum, so that a machine that needs most of a budget for
    each decision does not count as one with a backlog.
    """

    def __init__(self, partition_count: int, budget_s: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        interval_s = max(budget_s, _MIN_INTERVAL_S)
        self._target_s = max(budget_s, _MIN_TARGET_S)
        gates = [DelayGate(self._target_s, interval_s) for _ in range(partition_count + 1)]
        *queue_gates, self._loop_gate = gates
        self._queues = [_InFlightDecisions(gate) for gate in queue_gates]
        self._queue_by_request: dict[str, _InFlightDecisions] = {}

    def admit_to_loop(self, start_s: float) -> bool:
        """Return whether a request that began at `start_s` may pass; if not, this process is
        late."""
        now_s = self._clock()
        return self._loop_gate.admit(now_s - start_s, now_s)

    def judge(self, key: str, budget_s: float) -> AdmissionVerdict:
        """Return the verdict on a request for a decision on an interaction's key.

        After a delay of a partition, the decisions in flight are limited to those that return in
        time, since the age of the oldest shows an overload only after it has queued up.
        """
        queue, now_s = self._queue_of(key), self._clock()
        target_s = max(self._target_s, budget_s)
        age_s = queue.oldest_age_s(now_s)
        may_pass = queue.gate.admit(age_s, now_s) or age_s <= target_s
        is_bounded = queue.gate.was_closed(now_s, _BOUND_S)
        if may_pass and (not is_bounded or queue.has_room(target_s * _BUDGET_SHARE, now_s)):
            return AdmissionVerdict.ADMIT
        return (
            AdmissionVerdict.OVERLOADED if queue.replies_per_s(now_s) else AdmissionVerdict.STALLED
        )

    def retry_after_s(self, key: str) -> int:
        """Return the whole seconds after which a refused request may be sent again."""
        age_s = self._queue_of(key).oldest_age_s(self._clock())
        return max(1, min(round(age_s), _MAX_RETRY_S))

    def note_request(self, request_id: str, key: str) -> None:
        """Note the request of a decision."""
        queue = self._queue_by_request[request_id] = self._queue_of(key)
        queue.add(request_id, self._clock())

    def note_reply(self, request_id: str) -> None:
        """Note the reply to a request, in time or late."""
        queue = self._queue_by_request.get(request_id)
        if queue is not None:
            for finished_id in queue.remove(request_id, self._clock()):
                del self._queue_by_request[finished_id]

    def oldest_age_s(self) -> float:
        """Return the age of the oldest decision in flight."""
        now_s = self._clock()
        return max(queue.oldest_age_s(now_s) for queue in self._queues)

    def _queue_of(self, key: str) -> _InFlightDecisions:
        return self._queues[partition_for_key(key, len(self._queues))]
