"""Kills and damage under load lose nothing and repeat nothing, and leave the expected states.

A short series is part of `make long`, the others are part of `make chaos`."""

from random import Random

import pytest

from tests.chaos import faults
from tests.chaos.faults import FAULTS, Fault
from tests.chaos.stack import ADAPTER, GATEWAY, ChaosStack, worker
from tests.chaos.traffic import STEPS
from tests.chaos.trial import Laboratory
from tests.support.doom import POINTS

_RATE = 80.0
_HIGH_RATE = 200.0
_CUSTOMERS = 20_000


def inflict_some_faults(stack: ChaosStack, random: Random) -> None:
    """Kill a worker, the gateway and the adapter, with poison in between."""
    stack.kill(worker(0))
    stack.kill(ADAPTER)
    faults.send_poison(stack, random)
    stack.kill(GATEWAY)
    stack.wait_until_ready(GATEWAY, ADAPTER, worker(0))


@pytest.mark.kafka
@pytest.mark.timeout(600)
@pytest.mark.long
def test_laws_hold_after_a_short_series_of_faults(laboratory: Laboratory) -> None:
    result = laboratory.run(inflict_some_faults, _RATE)
    assert not result.failures
    assert result.dead_letter_count >= 40


@pytest.mark.chaos
@pytest.mark.timeout(900)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_laws_hold_after_each_fault(laboratory: Laboratory, fault: Fault) -> None:
    result = laboratory.run(fault, _RATE)
    assert not result.failures


@pytest.mark.chaos
@pytest.mark.timeout(300)
@pytest.mark.parametrize("point", POINTS)
def test_laws_hold_after_a_kill_at_each_point_of_the_protocol(
    laboratory: Laboratory, point: str
) -> None:
    result = laboratory.run(faults.kill_at(point), _RATE)
    assert not result.failures


@pytest.mark.chaos
@pytest.mark.timeout(3_600)
def test_laws_hold_after_a_long_series_of_faults(laboratory: Laboratory) -> None:
    # 100,000 interactions of 20,000 customers: a quarter of an hour.
    result = laboratory.run(faults.inflict_many_kills, _HIGH_RATE, _CUSTOMERS)
    assert not result.failures
    assert result.record_count >= _CUSTOMERS * STEPS
