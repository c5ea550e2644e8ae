"""Threads that are started in the background give way to the event loop; other threads do not."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from agents.transport.background import background

pytestmark = pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="no SCHED_BATCH here")


_CLIENT_PROCESS = """
import os
from contextlib import suppress
from pathlib import Path
from confluent_kafka import Producer
from agents.transport.background import background

with background():
    client = Producer({"bootstrap.servers": "127.0.0.1:1", "log_level": 0})
threads = {int(task.name) for task in Path("/proc/self/task").iterdir()} - {os.getpid()}
policies = set()
for thread in threads:
    with suppress(ProcessLookupError):  # a thread that has ended meanwhile
        policies.add(os.sched_getscheduler(thread))
print(os.sched_getscheduler(0), *policies)
"""


def test_threads_of_a_client_run_as_batch_and_their_creator_does_not() -> None:
    # In a process of its own: clients of other tests start threads at any time.
    policies = subprocess.check_output([sys.executable, "-c", _CLIENT_PROCESS], text=True)
    assert policies.split() == [str(os.SCHED_OTHER), str(os.SCHED_BATCH)]


def test_another_policy_is_left_as_it_is() -> None:
    def run_idle() -> tuple[int, int]:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        with background():
            policy_inside = os.sched_getscheduler(0)
        return policy_inside, os.sched_getscheduler(0)

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(run_idle).result() == (os.SCHED_IDLE, os.SCHED_IDLE)


def _fail_in_background() -> None:
    with background():
        assert os.sched_getscheduler(threading.get_native_id()) == os.SCHED_BATCH
        raise ZeroDivisionError


def test_policy_is_restored_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError):
        _fail_in_background()
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
