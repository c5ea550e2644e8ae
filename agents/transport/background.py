"""Threads that give way to the event loop: librdkafka's own, and those that poll.

A thread inherits its policy from the one that makes it. Under SCHED_BATCH (Linux, sched(7)) it
does not interrupt another one when it wakes up, but waits for its turn: a worker on a busy machine
was interrupted four thousand times a second by records that it had no time for yet.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def background() -> Iterator[None]:
    """This thread, and those that it makes meanwhile for as long as they live.

    Changes nothing where there is no such policy, or where somebody has chosen another one.
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
