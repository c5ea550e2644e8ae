"""Many timers that are due at once: how many fire at each look, and that each fires once."""

from dataclasses import replace

import pytest

from agents.timers import LOST_MS, MAX_IN_FLIGHT
from pipeline.model.outcome import Outcome
from tests.support.timer_stage import START_MS, WAIT_MS, TimerStage

_TIMER_COUNT = 3 * MAX_IN_FLIGHT
_DUE_MS = START_MS + WAIT_MS + 1_000
_TICK_MS = 100
_CONGESTED_BACKLOG = 50
_MIN_FIRE_COUNT = 2


@pytest.fixture
def timer_stage() -> TimerStage:
    """Stage with many due timers, and no backlog."""
    timers = TimerStage()
    for number in range(_TIMER_COUNT):
        timers.write_input(f"p{number}", START_MS + number)
    timers.process(_TIMER_COUNT)
    return timers


def _fire_at_ticks(timer_stage: TimerStage, count: int, since_ms: int = _DUE_MS) -> list[int]:
    """Fire due timers at `count` ticks, and return the number fired at each."""
    return [timer_stage.fire_due_timers(since_ms + tick * _TICK_MS) for tick in range(count)]


def test_window_of_timers_is_in_flight_and_each_fires_once(timer_stage: TimerStage) -> None:
    assert _fire_at_ticks(timer_stage, 3) == [MAX_IN_FLIGHT, 0, 0]
    timer_stage.process(7)
    assert _fire_at_ticks(timer_stage, 2) == [7, 0]
    while timer_stage.unprocessed_count:
        timer_stage.process(1)
        timer_stage.fire_due_timers(_DUE_MS)
    assert len(timer_stage.firings) == len(set(timer_stage.firings)) == _TIMER_COUNT
    assert sorted(timer_stage.entries) == sorted(profile for profile, _ in timer_stage.firings)


def test_earliest_timers_fire_first(timer_stage: TimerStage) -> None:
    assert timer_stage.fire_due_timers(START_MS + WAIT_MS + 2) == 3
    assert timer_stage.fire_due_timers(START_MS + WAIT_MS + 4) == 2
    assert timer_stage.fire_due_timers(START_MS + WAIT_MS + 4) == 0


@pytest.mark.parametrize(
    "backlog", [_CONGESTED_BACKLOG, _CONGESTED_BACKLOG + 1, 100 * _CONGESTED_BACKLOG]
)
def test_few_timers_fire_per_look_where_later_stages_have_a_backlog(
    timer_stage: TimerStage, backlog: int
) -> None:
    fire_count = 0
    while fire_count < _TIMER_COUNT:
        timer_stage.ports.backlog_size = backlog
        count = timer_stage.fire_due_timers(_DUE_MS)
        assert 0 < count <= _MIN_FIRE_COUNT
        fire_count += count
        timer_stage.process(count)
    assert len(set(timer_stage.firings)) == _TIMER_COUNT


def test_at_most_a_window_of_timers_is_in_flight_under_a_backlog(
    timer_stage: TimerStage,
) -> None:
    timer_stage.ports.backlog_size = _CONGESTED_BACKLOG
    assert sum(_fire_at_ticks(timer_stage, MAX_IN_FLIGHT)) == MAX_IN_FLIGHT


def test_backlog_reduces_the_timers_fired(timer_stage: TimerStage) -> None:
    timer_stage.ports.backlog_size = _CONGESTED_BACKLOG - 3
    assert timer_stage.fire_due_timers(_DUE_MS) == 3


def test_no_timer_fires_while_the_backlog_is_unknown(timer_stage: TimerStage) -> None:
    timer_stage.ports.backlog_size = None
    assert _fire_at_ticks(timer_stage, 3) == [0, 0, 0]


def test_lost_timer_fires_again_once_there_is_no_backlog(timer_stage: TimerStage) -> None:
    timer_stage.fire_due_timers(_DUE_MS)
    timer_stage.drop_inputs(5)
    timer_stage.process(MAX_IN_FLIGHT)
    late_ms = _DUE_MS + LOST_MS
    assert _fire_at_ticks(timer_stage, 2) == [MAX_IN_FLIGHT - 5, 0]
    timer_stage.process(MAX_IN_FLIGHT)
    assert timer_stage.fire_due_timers(late_ms) == MAX_IN_FLIGHT - 5
    timer_stage.ports.backlog_size = 1
    assert timer_stage.fire_due_timers(late_ms + 1) == 0
    timer_stage.ports.backlog_size = 0
    assert timer_stage.fire_due_timers(late_ms + 1) == 5


def test_armed_timers_fire_again_after_a_new_assignment(timer_stage: TimerStage) -> None:
    timer_stage.fire_due_timers(_DUE_MS)
    timer_stage.on_assignment()
    assert _fire_at_ticks(timer_stage, 2) == [MAX_IN_FLIGHT, 0]


def test_new_owner_fires_the_timers_that_another_armed(timer_stage: TimerStage) -> None:
    rows = dict(timer_stage.ports.rows)
    timer_stage.ports.rows.clear()
    assert timer_stage.fire_due_timers(_DUE_MS) == 0
    timer_stage.ports.rows.update(rows)
    timer_stage.on_assignment()
    assert timer_stage.fire_due_timers(_DUE_MS) == MAX_IN_FLIGHT


def test_timers_cleared_by_another_owner_leave_room(timer_stage: TimerStage) -> None:
    timer_stage.fire_due_timers(_DUE_MS)
    for key in timer_stage.timers[:8]:
        del timer_stage.ports.rows[key]
    assert timer_stage.fire_due_timers(_DUE_MS) == 8


def test_timer_whose_step_fails_fires_once(timer_stage: TimerStage) -> None:
    def fail(*_: object) -> Outcome[object]:
        raise ValueError("cannot be processed")

    timer_stage.stage = replace(timer_stage.stage, step=fail)
    timer_stage.start()
    timer_stage.fire_due_timers(_DUE_MS)
    timer_stage.process(MAX_IN_FLIGHT)
    timer_stage.on_assignment()
    timer_stage.fire_due_timers(_DUE_MS)
    assert len(set(timer_stage.firings)) == 2 * MAX_IN_FLIGHT


def test_stage_may_have_due_timers_from_the_first_one_on(timer_stage: TimerStage) -> None:
    first_ms = min(time_ms for _, time_ms in timer_stage.armed_timers())
    timer_stage.fire_due_timers(START_MS)
    assert not timer_stage.may_have_due_timers(first_ms - 1)
    assert timer_stage.may_have_due_timers(first_ms)


def test_stage_that_lost_its_timers_may_have_due_timers_again(timer_stage: TimerStage) -> None:
    assert timer_stage.fire_due_timers(_DUE_MS) == MAX_IN_FLIGHT
    timer_stage.drop_inputs(MAX_IN_FLIGHT)
    assert timer_stage.may_have_due_timers(_DUE_MS + LOST_MS + 1)
    assert timer_stage.fire_due_timers(_DUE_MS + LOST_MS + 1) == MAX_IN_FLIGHT
