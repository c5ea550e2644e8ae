"""How a worker whose partitions may be another's notices it before it writes anything more.

While the process is stopped its session may end, and another member may take over its partitions.
librdkafka tells so soon after the process goes on; what the agents have begun would be written
before that, and before the event loop hears what the poller has been told.
"""

import time
from collections.abc import Callable


class Lease:
    """Held while the poller was seen at work within `seconds`; once over, it is never held again.

    The poller's thread alone changes it; any thread may ask whether it is held. `clock` tells
    seconds that only grow.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._until = float("inf")

    @property
    def held(self) -> bool:
        """Whether the group cannot have given the partitions away without being asked."""
        return self._clock() < self._until

    def end(self) -> None:
        """The partitions are, or may be, another's from now on."""
        self._until = float("-inf")

    def renew(self) -> bool:
        """The poller is at work, and with it librdkafka's heartbeats; returns whether in time."""
        now = self._clock()
        in_time = now < self._until
        self._until = now + self._seconds if in_time else float("-inf")
        return in_time
