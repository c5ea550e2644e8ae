"""What is made of measurements: who fell behind."""

from tests.benchmarks.figures import Sample, summarise

_RATE = 100
_SENT = 300
_SECONDS = 3.0


def _sample(latency_ms: float, late_s: float = 0.0) -> Sample:
    return Sample(
        sent=_SENT,
        meant_seconds=_SECONDS,
        seconds=_SECONDS + late_s,
        latencies_ms=[latency_ms] * _SENT,
        headers=[],
        cpu={"floor": 0.5},
    )


def test_a_repeat_that_did_not_reach_the_rate_fell_behind() -> None:
    found = summarise("floor", _RATE, [_sample(2.0), _sample(4.0)], repeats=3)
    assert (found.reached, found.sustained, found.behind) == (2, 2, 1)
    assert found.p99 == 3.0


def test_a_repeat_that_reached_the_rate_may_fall_behind_too() -> None:
    found = summarise("floor", _RATE, [_sample(2.0), _sample(4.0, late_s=2.0)], repeats=3)
    assert (found.reached, found.sustained, found.behind) == (2, 1, 2)


def test_nobody_falls_behind_where_all_repeats_sustain_the_rate() -> None:
    assert summarise("floor", _RATE, [_sample(2.0)] * 3, repeats=3).behind == 0
