"""Kills a worker from within, at a named point of the commit protocol."""

import os
import signal
from typing import Any, Final

from agents.transport.checkpoint import Checkpointer
from agents.transport.producer import Producer

POINTS: Final[dict[str, tuple[type, str, int]]] = {
    "a row is written and not in the changelog": (Producer, "send_changelog", 1_500),
    "a row is handed over, its output is not": (Producer, "send_raw", 1_500),
    "a cut is made and not delivered": (Producer, "delivered", 2),
    "all is delivered and not committed": (Checkpointer, "_commit", 2),
    "all is committed and not on disk": (Checkpointer, "_persist", 2),
}
"""What comes next there, and the how manieth time of it is the last."""


def doom(point: str) -> None:
    """SIGKILL for this process when it has come there."""
    owner, name, last = POINTS[point]
    goes_on = getattr(owner, name)
    calls = 0

    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return goes_on(*args, **kwargs)

    setattr(owner, name, call)
