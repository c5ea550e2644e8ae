"""Which threads give way: those that are made in the background, and no others."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from confluent_kafka import Producer

from agents.transport.background import background

pytestmark = pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="no SCHED_BATCH here")


def _policies() -> dict[int, int]:
    """By thread of this process."""
    threads = [int(task.name) for task in Path("/proc/self/task").iterdir()]
    return {thread: os.sched_getscheduler(thread) for thread in threads}


def test_what_a_client_starts_gives_way_and_who_makes_it_does_not() -> None:
    before = _policies()
    with background():
        in_background = Producer({"bootstrap.servers": "127.0.0.1:1", "log_level": 0})
    made = {thread: policy for thread, policy in _policies().items() if thread not in before}
    assert made
    assert set(made.values()) == {os.SCHED_BATCH}
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
    known = _policies()
    in_front = Producer({"bootstrap.servers": "127.0.0.1:1", "log_level": 0})
    assert {policy for thread, policy in _policies().items() if thread not in known} == {
        os.SCHED_OTHER
    }
    del in_background, in_front


def test_another_policy_is_left_as_it_is() -> None:
    def idle() -> tuple[int, int]:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        with background():
            meanwhile = os.sched_getscheduler(0)
        return meanwhile, os.sched_getscheduler(0)

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(idle).result() == (os.SCHED_IDLE, os.SCHED_IDLE)


def _fail_in_background() -> None:
    with background():
        assert os.sched_getscheduler(threading.get_native_id()) == os.SCHED_BATCH
        raise ZeroDivisionError


def test_it_ends_with_an_error() -> None:
    with pytest.raises(ZeroDivisionError):
        _fail_in_background()
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
