"""Figures of benchmarks: rates that were not sustained, and the longest wait of a partition."""

from math import inf

import pytest

from tests.benchmarks.figures import Passage, Passages, RateSample, summarise
from tests.benchmarks.machine import this_machine
from tests.benchmarks.report import print_latency

_RATE = 100
_RECORD_COUNT = 300
_SECONDS = 3.0


def _sample(latency_ms: float, delay_s: float = 0.0, cores: float = 0.5) -> RateSample:
    return RateSample(
        record_count=_RECORD_COUNT,
        planned_seconds=_SECONDS,
        seconds=_SECONDS + delay_s,
        latencies_ms=[latency_ms] * _RECORD_COUNT,
        headers=[],
        cpu={"floor": cores, "broker": 0.3},
    )


def test_repeat_that_did_not_reach_the_rate_fell_behind() -> None:
    latency = summarise("floor", _RATE, [_sample(2.0), _sample(4.0)], repeats=3)
    assert (latency.reached, latency.sustained, latency.behind_count) == (2, 2, 1)
    assert latency.p99 == 3.0


def test_repeat_that_reached_the_rate_may_fall_behind() -> None:
    latency = summarise("floor", _RATE, [_sample(2.0), _sample(4.0, delay_s=2.0)], repeats=3)
    assert (latency.reached, latency.sustained, latency.behind_count) == (2, 1, 2)


def test_no_repeat_is_behind_where_all_sustain_the_rate() -> None:
    assert summarise("floor", _RATE, [_sample(2.0)] * 3, repeats=3).behind_count == 0


def test_wait_after_a_kill_is_that_of_the_partition_that_waits_longest() -> None:
    passages_before = [
        Passage(due_s=1.0, arrival_s=1.1, partition=partition) for partition in (0, 1)
    ]
    delayed_passages = [Passage(due_s=1.9, arrival_s=2.5, partition=1)]
    passages_after = [
        Passage(due_s=2.1, arrival_s=5.0, partition=1),
        Passage(due_s=2.5, arrival_s=4.0, partition=1),
        Passage(due_s=2.2, arrival_s=3.0, partition=0),
        Passage(due_s=2.3, arrival_s=8.0, partition=0),
    ]
    assert (
        Passages(7, [*passages_before, *delayed_passages, *passages_after]).longest_wait_after(2.0)
        == 2.0
    )


def test_partition_without_output_after_the_kill_has_an_infinite_wait() -> None:
    arrivals = [Passage(0.0, 0.1, 0), Passage(0.0, 0.1, 1), Passage(2.0, 3.0, 0)]
    assert Passages(3, arrivals).longest_wait_after(1.0) == inf
    assert Passages(1, []).longest_wait_after(1.0) == inf


def test_cores_are_shown_as_a_multiple_of_the_floor(capsys: pytest.CaptureFixture[str]) -> None:
    floor = summarise("floor", _RATE, [_sample(2.0)], repeats=1)
    demo_latency = summarise("demo", _RATE, [_sample(3.0, cores=1.6)], repeats=1)
    print_latency([floor, demo_latency])
    demo = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("demo"))
    assert demo.split()[5:] == ["1.5", "1.5", "100", "1.60", "3.2", "0.30"]


def test_speed_of_the_machine_is_measured() -> None:
    assert "1,000,000 additions" in str(machine := this_machine())
    assert 1 < machine.loop_ms < 60_000
    assert 0 < machine.wake_up_us < 1_000_000
