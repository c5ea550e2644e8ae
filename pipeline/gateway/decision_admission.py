"""Admission of decisions by measured age: requests that cannot be decided in time are answered at
once.

Decisions in flight are recorded with the time of their request, by partition of `interactions`. The
age of the oldest shows the pipeline's delay for any reason: a stopped worker, a rebalance, a
backlog, too many requests. Some requests never get a reply: that of an event which was decided
before, or which is a dead letter. A key with such a request does not delay the decisions of others.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from itertools import takewhile
from typing import Final

from pipeline.adapters import bounded
from pipeline.adapters.kafka import partition_for_key

_MIN_TARGET_S: Final = 0.05
_MIN_INTERVAL_S: Final = 0.1
_MEMORY_S: Final = 1.0
"""Time for which a formerly closed gate closes again without waiting for its interval."""

_PROBE_INTERVAL_COUNT: Final = 10
"""Number of intervals between two requests that a closed gate admits, which may wait in vain."""

_RATE_S: Final = 1.0
"""Time over which replies are counted; a partition without replies is stalled."""

_DISTRUST_S: Final = 60.0
"""Time for which the requests of a key show no delay after one of them remained without a reply."""

_MAX_DOUBTFUL: Final = 10_000
"""Maximum number of distrusted keys, and of their requests; the oldest are dropped."""

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
    gate admits one request per ten intervals as a probe, by which it opens again when nothing else
    is in flight. Doubtful requests, which may remain without a reply, have probes of their own.
    """

    def __init__(self, target_s: float, interval_s: float) -> None:
        self._target_s = target_s
        self._interval_s = interval_s
        self._excess_start_s: float | None = None
        self._last_closed_s = float("-inf")
        self._last_probe_s = {False: float("-inf"), True: float("-inf")}

    def note(self, delay_s: float, now_s: float) -> None:
        """Note a delay as of `now_s`."""
        if delay_s <= self._target_s:
            self._excess_start_s = None
        elif self._excess_start_s is None:
            self._excess_start_s = now_s - (delay_s - self._target_s)

    def admit(self, delay_s: float, now_s: float, *, is_doubtful: bool = False) -> bool:
        """Note a delay, and a request where it may pass; return whether it may."""
        self.note(delay_s, now_s)
        if self._excess_start_s is None:
            return True
        patience_s = 0.0 if self.was_closed(now_s, _MEMORY_S) else self._interval_s
        if now_s - self._excess_start_s < patience_s:
            return True
        self._last_closed_s = now_s
        if now_s - self._last_probe_s[is_doubtful] < self._interval_s * _PROBE_INTERVAL_COUNT:
            return False
        self._last_probe_s[is_doubtful] = now_s
        return True

    def was_closed(self, now_s: float, period_s: float) -> bool:
        """Return whether the gate was closed within the last `period_s`."""
        return now_s - self._last_closed_s < period_s


@dataclass(frozen=True, slots=True)
class _Request:
    """Request of a decision at `at_s` for the interaction's `key`."""

    id: str
    key: str
    at_s: float


class _InFlightDecisions:
    """Decisions in flight of one partition, in the order of requests."""

    def __init__(self, gate: DelayGate) -> None:
        self.gate = gate
        self._requests: dict[str, _Request] = {}
        self._reply_times: deque[float] = deque()

    def add(self, request: _Request) -> None:
        self._requests[request.id] = request

    def remove(self, request_id: str, now_s: float) -> list[_Request]:
        """Remove a decision with a reply, and those requested before it; return all of them, that
        with the reply last.

        A partition is processed in order, so the earlier decisions are finished too, without a
        reply.
        """
        finished_ids = [
            *takewhile(lambda other_id: other_id != request_id, self._requests),
            request_id,
        ]
        finished_requests = [self._requests.pop(finished_id) for finished_id in finished_ids]
        self.note_reply(now_s)
        return finished_requests

    def note_reply(self, now_s: float) -> None:
        self._reply_times.append(now_s)
        self.gate.note(self.oldest_age_s(now_s), now_s)

    def oldest_age_s(self, now_s: float) -> float:
        oldest_request = next(iter(self._requests.values()), None)
        return 0.0 if oldest_request is None else now_s - oldest_request.at_s

    def has_older(self, key: str, age_s: float, now_s: float) -> bool:
        """Return whether a decision of the key has been in flight for more than `age_s`."""
        return any(
            request.key == key
            for request in takewhile(
                lambda request: now_s - request.at_s > age_s, self._requests.values()
            )
        )

    def replies_per_s(self, now_s: float) -> float:
        """Return the replies of the last second."""
        while self._reply_times and now_s - self._reply_times[0] > _RATE_S:
            self._reply_times.popleft()
        return len(self._reply_times) / _RATE_S

    def has_room(self, limit_s: float, now_s: float) -> bool:
        """Return whether another decision would return within `limit_s`, by Little's law."""
        rate = self.replies_per_s(now_s)
        return not rate or len(self._requests) < max(_MIN_IN_FLIGHT, rate * limit_s)


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
        self._distrusted_keys: dict[str, float] = {}
        self._doubtful_requests: dict[str, str] = {}

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
        is_doubtful = self._is_distrusted(key, now_s) or queue.has_older(key, target_s, now_s)
        may_pass = queue.gate.admit(age_s, now_s, is_doubtful=is_doubtful) or age_s <= target_s
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
        """Note the request of a decision, which shows no delay if its key is distrusted."""
        now_s = self._clock()
        if self._is_distrusted(key, now_s):
            bounded.put(self._doubtful_requests, request_id, key, _MAX_DOUBTFUL)
        else:
            queue = self._queue_by_request[request_id] = self._queue_of(key)
            queue.add(_Request(request_id, key, now_s))

    def note_reply(self, request_id: str) -> None:
        """Note the reply to a request, in time or late.

        The keys of requests before it that have waited too long are distrusted, until a reply to
        one of their requests.
        """
        now_s = self._clock()
        queue = self._queue_by_request.get(request_id)
        if queue is None:
            self._restore_trust(request_id, now_s)
            return
        for request in queue.remove(request_id, now_s):
            del self._queue_by_request[request.id]
            if request.id != request_id and now_s - request.at_s > self._target_s:
                self._distrusted_keys.pop(request.key, None)  # so that it becomes the newest
                bounded.put(self._distrusted_keys, request.key, now_s, _MAX_DOUBTFUL)
                bounded.put(self._doubtful_requests, request.id, request.key, _MAX_DOUBTFUL)

    def _restore_trust(self, request_id: str, now_s: float) -> None:
        key = self._doubtful_requests.pop(request_id, None)
        if key is not None:
            self._distrusted_keys.pop(key, None)
            self._queue_of(key).note_reply(now_s)

    def _is_distrusted(self, key: str, now_s: float) -> bool:
        return now_s - self._distrusted_keys.get(key, float("-inf")) < _DISTRUST_S

    def oldest_age_s(self) -> float:
        """Return the age of the oldest decision in flight."""
        now_s = self._clock()
        return max(queue.oldest_age_s(now_s) for queue in self._queues)

    def _queue_of(self, key: str) -> _InFlightDecisions:
        return self._queues[partition_for_key(key, len(self._queues))]
