"""Scheduling policy of threads that give way to the event loop: librdkafka's, and pollers.

A thread inherits its policy from its creator. Under SCHED_BATCH (Linux, sched(7)) it does not
preempt another thread when it wakes up. Without it, a worker on a busy machine was preempted four
thousand times a second by records that it had no time for yet.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def background() -> Iterator[None]:
    """Run this thread, and for good those that it creates meanwhile, under SCHED_BATCH.

    Does nothing where there is no such policy, or where another one was chosen.
    """
    if not hasattr(os, "SCHED_BATCH") or os.sched_getscheduler(0) != os.SCHED_OTHER:
        yield
        return
    nothing = os.sched_param(0)
    os.sched_setscheduler(0, os.SCHED_BATCH, nothing)
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, nothing)
