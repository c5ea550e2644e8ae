"""Timers that fall due by the dozen."""

from dataclasses import replace

import pytest

from agents.timers import LOST_MS, WINDOW
from pipeline.model.outcome import Outcome
from tests.support.ringing import START_MS, WAIT_MS, Ringing

_MANY = 3 * WINDOW
_DUE_MS = START_MS + WAIT_MS + 1_000
_TICK_MS = 100
_CONGESTED = 50
_FEW = 2


@pytest.fixture
def ringing() -> Ringing:
    """Many have come and are due; nothing waits."""
    one = Ringing()
    for number in range(_MANY):
        one.come(f"p{number}", START_MS + number)
    one.process(_MANY)
    return one


def _ticks(ringing: Ringing, count: int, since_ms: int = _DUE_MS) -> list[int]:
    return [ringing.tell_due(since_ms + tick * _TICK_MS) for tick in range(count)]


def test_a_window_of_them_is_under_way_and_each_is_told_once(ringing: Ringing) -> None:
    assert _ticks(ringing, 3) == [WINDOW, 0, 0]
    ringing.process(7)
    assert _ticks(ringing, 2) == [7, 0]
    while ringing.unprocessed:
        ringing.process(1)
        ringing.tell_due(_DUE_MS)
    assert len(ringing.told) == len(set(ringing.told)) == _MANY
    assert sorted(ringing.entered) == sorted(who for who, _ in ringing.told)


def test_the_earliest_are_told_first(ringing: Ringing) -> None:
    assert ringing.tell_due(START_MS + WAIT_MS + 2) == 3
    assert ringing.tell_due(START_MS + WAIT_MS + 4) == 2
    assert ringing.tell_due(START_MS + WAIT_MS + 4) == 0


@pytest.mark.parametrize("waiting", [_CONGESTED, _CONGESTED + 1, 100 * _CONGESTED])
def test_a_few_are_told_at_each_look_where_much_waits_in_what_follows(
    ringing: Ringing, waiting: int
) -> None:
    told = 0
    while told < _MANY:
        ringing.ports.inputs = waiting
        now = ringing.tell_due(_DUE_MS)
        assert 0 < now <= _FEW
        told += now
        ringing.process(now)
    assert len(set(ringing.told)) == _MANY


def test_a_window_is_the_most_where_much_waits_in_the_stage_itself(ringing: Ringing) -> None:
    ringing.ports.inputs = _CONGESTED
    assert sum(_ticks(ringing, WINDOW)) == WINDOW


def test_what_waits_leaves_so_much_room(ringing: Ringing) -> None:
    ringing.ports.inputs = _CONGESTED - 3
    assert ringing.tell_due(_DUE_MS) == 3


def test_none_is_told_where_it_is_not_known_what_waits(ringing: Ringing) -> None:
    ringing.ports.inputs = None
    assert _ticks(ringing, 3) == [0, 0, 0]


def test_what_is_lost_is_told_again_once_nothing_waits_for_long(ringing: Ringing) -> None:
    ringing.tell_due(_DUE_MS)
    ringing.lose(5)
    ringing.process(WINDOW)
    late_ms = _DUE_MS + LOST_MS
    assert _ticks(ringing, 2) == [WINDOW - 5, 0]
    ringing.process(WINDOW)
    assert ringing.tell_due(late_ms) == WINDOW - 5
    ringing.ports.inputs = 1
    assert ringing.tell_due(late_ms + 1) == 0
    ringing.ports.inputs = 0
    assert ringing.tell_due(late_ms + 1) == 5


def test_whoever_owns_the_partition_anew_tells_what_stands(ringing: Ringing) -> None:
    ringing.tell_due(_DUE_MS)
    ringing.own_anew()
    assert _ticks(ringing, 2) == [WINDOW, 0]


def test_an_owner_anew_sees_the_timers_that_another_has_set(ringing: Ringing) -> None:
    rows = dict(ringing.ports.rows)
    ringing.ports.rows.clear()
    assert ringing.tell_due(_DUE_MS) == 0
    ringing.ports.rows.update(rows)
    ringing.own_anew()
    assert ringing.tell_due(_DUE_MS) == WINDOW


def test_what_another_owner_did_leaves_room(ringing: Ringing) -> None:
    ringing.tell_due(_DUE_MS)
    for key in ringing.timers[:8]:
        del ringing.ports.rows[key]
    assert ringing.tell_due(_DUE_MS) == 8


def test_a_timer_that_cannot_be_processed_rings_once(ringing: Ringing) -> None:
    def fail(*_: object) -> Outcome[object]:
        raise ValueError("cannot be processed")

    ringing.stage = replace(ringing.stage, step=fail)
    ringing.start()
    ringing.tell_due(_DUE_MS)
    ringing.process(WINDOW)
    ringing.own_anew()
    ringing.tell_due(_DUE_MS)
    assert len(set(ringing.told)) == 2 * WINDOW


def test_nothing_is_asked_until_the_first_timer_is_due(ringing: Ringing) -> None:
    first_ms = min(at for _, at in ringing.standing())
    ringing.tell_due(START_MS)
    assert not ringing.may_be_due(first_ms - 1)
    assert ringing.may_be_due(first_ms)


def test_a_timer_in_flight_may_be_due_again(ringing: Ringing) -> None:
    assert ringing.tell_due(_DUE_MS) == WINDOW
    ringing.lose(WINDOW)
    assert ringing.may_be_due(_DUE_MS + LOST_MS + 1)
    assert ringing.tell_due(_DUE_MS + LOST_MS + 1) == WINDOW
