"""Scheduling policy of threads that yield to the event loop: librdkafka's, and pollers.

A thread inherits its policy from its creator. Under SCHED_BATCH (Linux, sched(7)) it does not
preempt another thread when it wakes up. Otherwise, on a busy machine, these threads preempt a
worker four thousand times a second, for records that may wait.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def background() -> Iterator[None]:
    """Run this thread under SCHED_BATCH, and permanently the threads that it creates meanwhile.

    Does nothing where there is no such policy, or where another one was chosen.
    """
    if not hasattr(os, "SCHED_BATCH") or os.sched_getscheduler(0) != os.SCHED_OTHER:
        yield
        return
    parameters = os.sched_param(0)
    os.sched_setscheduler(0, os.SCHED_BATCH, parameters)
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, parameters)
