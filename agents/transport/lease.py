"""How a worker that was stopped notices it before it writes anything more.

While the process is stopped its session may end, and another member may take over its partitions.
librdkafka tells so soon after the process goes on; what the agents have begun would be written
before that.
"""

import time


class Lease:
    """Held while the poller was seen at work within `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until = float("inf")

    @property
    def held(self) -> bool:
        """Whether the group cannot have given the partitions away without being asked."""
        return time.monotonic() < self._until

    def renew(self) -> None:
        """The poller is at work, and with it librdkafka's heartbeats."""
        self._until = time.monotonic() + self._seconds
