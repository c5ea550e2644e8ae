"""Lease on this worker's partitions: once it has expired, the worker writes nothing more.

While the process is stopped its session may end, and another member may take over its partitions.
librdkafka reports that only some time after the process resumes. Until then agents would go on
writing, so every write checks this lease first.
"""

import time
from collections.abc import Callable


class Lease:
    """Lease that is held for `seconds` after each renewal; once it has expired, it cannot be
    renewed.

    Only the poller's thread changes it; any thread may ask whether it is held. `clock` returns
    monotonic seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._end_s = float("inf")

    @property
    def is_held(self) -> bool:
        """Whether the group cannot have given the partitions to another member."""
        return self._clock() < self._end_s

    def end(self) -> None:
        """End the lease: the partitions are, or may be, another member's from now on."""
        self._end_s = float("-inf")

    def renew(self) -> bool:
        """Extend the lease, since the poller is alive; return False if it had expired before."""
        now_s = self._clock()
        is_in_time = now_s < self._end_s
        self._end_s = now_s + self._seconds if is_in_time else float("-inf")
        return is_in_time
