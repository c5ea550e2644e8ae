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
    """One partition that makes `per_s` decisions a second, in order; time advances in `run`."""

    per_s: float
    now_s: float = 0.0
    timely_replies: int = 0
    late_replies: int = 0
    refusals: int = 0
    stalls: int = 0
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
                self.refusals += 1
            case AdmissionVerdict.STALLED:
                self.stalls += 1

    def _deliver_replies(self) -> None:
        now_s = self.now_s
        while self._queue and self.per_s:
            request, asked_s = self._queue[0]
            done_s = max(self._free_at_s, asked_s) + 1 / self.per_s
            if done_s > now_s:
                break
            self._queue.popleft()
            self._free_at_s = self.now_s = done_s
            self.admission.note_reply(request)
            if done_s - asked_s <= _BUDGET_S:
                self.timely_replies += 1
            else:
                self.late_replies += 1
        self.now_s = now_s


def test_all_are_admitted_below_capacity() -> None:
    pipeline = _Pipeline(per_s=300)
    pipeline.run(arrivals_per_s=250, seconds=20)
    assert pipeline.refusals == pipeline.stalls == pipeline.late_replies == 0


def test_overload_is_refused_and_admitted_decisions_come_in_time() -> None:
    # At three times its capacity the pipeline still decides at nearly its full rate.
    pipeline = _Pipeline(per_s=300)
    pipeline.run(arrivals_per_s=900, seconds=20)
    assert pipeline.timely_replies > 0.9 * 300 * 20
    assert pipeline.late_replies < 0.08 * pipeline.timely_replies
    assert pipeline.refusals > 0.9 * 600 * 20
    assert pipeline.stalls == 0


def test_nothing_is_refused_after_an_overload() -> None:
    pipeline = _Pipeline(per_s=300)
    pipeline.run(arrivals_per_s=3_000, seconds=10)
    pipeline.run(arrivals_per_s=100, seconds=0.5)
    refusal_count, late_count = pipeline.refusals, pipeline.late_replies
    pipeline.run(arrivals_per_s=100, seconds=10)
    assert (pipeline.refusals, pipeline.late_replies, pipeline.stalls) == (
        refusal_count,
        late_count,
        0,
    )


def test_stalled_pipeline_is_asked_once_per_second_and_used_again_at_once() -> None:
    pipeline = _Pipeline(per_s=0)
    pipeline.run(arrivals_per_s=100, seconds=10)
    asked_count = 1_000 - pipeline.stalls - pipeline.refusals
    assert asked_count < 30
    pipeline.per_s = 300
    pipeline._free_at_s = pipeline.now_s
    pipeline.run(arrivals_per_s=100, seconds=1)
    refusals_in_all = pipeline.stalls + pipeline.refusals
    pipeline.run(arrivals_per_s=100, seconds=5)
    assert pipeline.stalls + pipeline.refusals == refusals_in_all


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


def _answered_share(repeating_keys: int, seconds: float) -> float:
    """Return the share of customers who are answered: one comes every 0.4 s, and is answered
    within 10 ms if admitted, while as many keys as given repeat, every 30 ms, an event that was
    decided before, which gets no reply."""
    now_s = 0.0
    admission = DecisionAdmission(1, _BUDGET_S, lambda: now_s)
    admitted_count = customer_count = 0
    for step in range(int(seconds * 100)):
        now_s = step / 100
        for number in range(repeating_keys):
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


@pytest.mark.parametrize("repeating_keys", [1, 8, 40])
def test_requests_that_nobody_answers_do_not_stall_the_decisions_of_others(
    repeating_keys: int,
) -> None:
    assert _answered_share(repeating_keys=0, seconds=60) == 1.0
    assert _answered_share(repeating_keys, seconds=60) > 0.95


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
