"""Admission of decisions: when one is requested, and when the gateway refuses at once."""

from collections import deque
from dataclasses import dataclass, field
from itertools import count

import pytest

from pipeline.gateway.decision_admission import AdmissionVerdict, DecisionAdmission, DelayGate

_BUDGET_S = 0.1
_KEY = "cookie:c1"


@dataclass
class _Pipeline:
    """Partition that makes `decisions_per_s` decisions in order; time advances in `run`."""

    decisions_per_s: float
    now_s: float = 0.0
    timely_reply_count: int = 0
    late_reply_count: int = 0
    refusal_count: int = 0
    stall_count: int = 0
    _queue: deque[tuple[str, float]] = field(default_factory=deque)
    _ids: "count[int]" = field(default_factory=count)
    _free_at_s: float = 0.0

    def __post_init__(self) -> None:
        self.admission = DecisionAdmission(1, _BUDGET_S, lambda: self.now_s)

    def run(self, arrivals_per_s: float, seconds: float) -> None:
        """Request decisions at this rate for `seconds`, one after the other."""
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.now_s += 1 / arrivals_per_s
            self._deliver_replies()
            self._request_decision()

    def _request_decision(self) -> None:
        match self.admission.judge(_KEY, _BUDGET_S):
            case AdmissionVerdict.ADMIT:
                request = str(next(self._ids))
                self.admission.note_request(request, _KEY)
                self._queue.append((request, self.now_s))
            case AdmissionVerdict.OVERLOADED:
                self.refusal_count += 1
            case AdmissionVerdict.STALLED:
                self.stall_count += 1

    def _deliver_replies(self) -> None:
        now_s = self.now_s
        while self._queue and self.decisions_per_s:
            request, asked_s = self._queue[0]
            done_s = max(self._free_at_s, asked_s) + 1 / self.decisions_per_s
            if done_s > now_s:
                break
            self._queue.popleft()
            self._free_at_s = self.now_s = done_s
            self.admission.note_reply(request)
            if done_s - asked_s <= _BUDGET_S:
                self.timely_reply_count += 1
            else:
                self.late_reply_count += 1
        self.now_s = now_s


def test_all_are_admitted_below_capacity() -> None:
    pipeline = _Pipeline(decisions_per_s=300)
    pipeline.run(arrivals_per_s=250, seconds=20)
    assert pipeline.refusal_count == pipeline.stall_count == pipeline.late_reply_count == 0


def test_overload_is_refused_and_admitted_decisions_come_in_time() -> None:
    # At three times its capacity the pipeline still decides at nearly its full rate.
    pipeline = _Pipeline(decisions_per_s=300)
    pipeline.run(arrivals_per_s=900, seconds=20)
    assert pipeline.timely_reply_count > 0.9 * 300 * 20
    assert pipeline.late_reply_count < 0.08 * pipeline.timely_reply_count
    assert pipeline.refusal_count > 0.9 * 600 * 20
    assert pipeline.stall_count == 0


def test_nothing_is_refused_after_an_overload() -> None:
    pipeline = _Pipeline(decisions_per_s=300)
    pipeline.run(arrivals_per_s=3_000, seconds=10)
    pipeline.run(arrivals_per_s=100, seconds=0.5)
    counts = pipeline.refusal_count, pipeline.late_reply_count, pipeline.stall_count
    pipeline.run(arrivals_per_s=100, seconds=10)
    assert (pipeline.refusal_count, pipeline.late_reply_count, pipeline.stall_count) == counts
    assert pipeline.stall_count == 0


def test_stalled_pipeline_is_asked_seldom_and_used_again_at_once() -> None:
    pipeline = _Pipeline(decisions_per_s=0)
    pipeline.run(arrivals_per_s=100, seconds=10)
    asked_count = 1_000 - pipeline.stall_count - pipeline.refusal_count
    assert asked_count < 30
    pipeline.decisions_per_s = 300
    pipeline._free_at_s = pipeline.now_s
    pipeline.run(arrivals_per_s=100, seconds=1)
    total_count = pipeline.stall_count + pipeline.refusal_count
    pipeline.run(arrivals_per_s=100, seconds=5)
    assert pipeline.stall_count + pipeline.refusal_count == total_count


def test_slow_machine_within_its_budget_is_asked() -> None:
    # Each decision takes most of a budget, some take more, and many are in flight.
    now_s = 0.0
    admission = DecisionAdmission(1, _BUDGET_S, lambda: now_s)
    for number in range(2_000):
        now_s = number * 0.01
        if number >= 9:
            admission.note_reply(str(number - 9 - number % 3))
        assert admission.judge(_KEY, _BUDGET_S) is AdmissionVerdict.ADMIT
        admission.note_request(str(number), _KEY)


def test_short_stall_is_tolerated() -> None:
    # The stall lasts as long as a garbage collection or a commit.
    gate = DelayGate(target_s=0.05, interval_s=0.1)
    for delay_ms in range(0, 140, 10):
        assert gate.admit(delay_ms / 1000, now_s=delay_ms / 1000), delay_ms
    assert gate.admit(0.0, now_s=0.15)
    assert gate.admit(0.06, now_s=0.16)


def test_unanswered_decision_is_dropped_with_the_next_answer() -> None:
    now_s = 0.0
    admission = DecisionAdmission(1, _BUDGET_S, lambda: now_s)
    admission.note_request("on an event that was decided before", _KEY)
    now_s = 10.0
    admission.note_request("next", _KEY)
    assert admission.oldest_age_s() == 10.0
    admission.note_reply("next")
    assert admission.oldest_age_s() == 0.0
    admission.note_reply("on an event that was decided before")
    assert admission.judge(_KEY, _BUDGET_S) is AdmissionVerdict.ADMIT


def test_stalled_partition_stalls_no_other() -> None:
    now_s = 0.0
    admission = DecisionAdmission(4, _BUDGET_S, lambda: now_s)
    keys = [f"cookie:{number}" for number in range(40)]
    for number, key in enumerate(keys):
        admission.note_request(str(number), key)
    for step in range(20):
        now_s += 0.02
        for key in keys:
            admission.judge(key, _BUDGET_S)
        if step == 0:
            stalled_queue = admission._queue_of(keys[0])
            for number, key in enumerate(keys):
                if admission._queue_of(key) is not stalled_queue:
                    admission.note_reply(str(number))
    verdicts = {key: admission.judge(key, _BUDGET_S) for key in keys}
    for key, verdict in verdicts.items():
        is_stalled = admission._queue_of(key) is stalled_queue
        assert verdict is (AdmissionVerdict.STALLED if is_stalled else AdmissionVerdict.ADMIT)


def test_longer_budget_tolerates_a_longer_delay() -> None:
    now_s = 0.0
    admission = DecisionAdmission(1, _BUDGET_S, lambda: now_s)
    admission.note_request("oldest", _KEY)
    verdicts = []
    for _ in range(40):
        now_s += 0.01
        verdicts.append(admission.judge(_KEY, _BUDGET_S))
        assert admission.judge(_KEY, 5.0) is AdmissionVerdict.ADMIT
    assert AdmissionVerdict.STALLED in verdicts


def _answered_share(repeating_key_count: int, seconds: float) -> float:
    """Return the share of customers who are answered: one comes every 0.4 s, and is answered
    within 10 ms if admitted, while `repeating_key_count` keys repeat, every 30 ms, an event that
    was decided before, which gets no reply."""
    now_s = 0.0
    admission = DecisionAdmission(1, _BUDGET_S, lambda: now_s)
    admitted_count = customer_count = 0
    for step in range(int(seconds * 100)):
        now_s = step / 100
        for number in range(repeating_key_count):
            key = f"cookie:repeating{number}"
            if (step + number) % 3 == 0 and (
                admission.judge(key, _BUDGET_S) is AdmissionVerdict.ADMIT
            ):
                admission.note_request(f"repeat {number} {step}", key)
        if step % 40 == 5:
            customer_count += 1
            if admission.judge(f"cookie:{step}", _BUDGET_S) is AdmissionVerdict.ADMIT:
                admitted_count += 1
                admission.note_request(str(step), f"cookie:{step}")
        if step % 40 == 6:
            admission.note_reply(str(step - 1))
    return admitted_count / customer_count


@pytest.mark.parametrize("repeating_key_count", [1, 8, 40])
def test_requests_that_nobody_answers_do_not_stall_the_decisions_of_others(
    repeating_key_count: int,
) -> None:
    assert _answered_share(repeating_key_count=0, seconds=60) == 1.0
    assert _answered_share(repeating_key_count, seconds=60) > 0.95


def test_key_with_an_unanswered_request_is_probed_again() -> None:
    now_s = 0.0
    admission = DecisionAdmission(1, _BUDGET_S, lambda: now_s)
    admission.note_request("repeated", _KEY)
    verdicts = []
    for _ in range(40):
        now_s += 0.05
        verdicts.append(admission.judge(_KEY, _BUDGET_S))
    assert AdmissionVerdict.ADMIT in verdicts[10:]
    assert AdmissionVerdict.STALLED in verdicts


def test_unanswered_key_shows_no_delay_until_one_of_its_requests_is_answered() -> None:
    now_s = 0.0
    admission = DecisionAdmission(1, _BUDGET_S, lambda: now_s)
    admission.note_request("repeated", _KEY)
    admission.note_request("next", "cookie:c2")
    now_s = 1.0
    admission.note_reply("next")
    admission.note_request("repeated again", _KEY)
    now_s = 2.0
    assert admission.oldest_age_s() == 0.0
    assert admission.judge(_KEY, _BUDGET_S) is AdmissionVerdict.ADMIT
    admission.note_reply("repeated again")
    admission.note_request("new", _KEY)
    now_s = 3.0
    assert admission.oldest_age_s() == 1.0
