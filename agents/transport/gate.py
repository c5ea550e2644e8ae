"""Outputs that wait until the rows that they follow from are in the changelog.

A stage with several inputs may read them in another order after a kill, and decide differently.
Nobody has seen what it decided before, if it is sent once its row is safe.
"""

from collections import deque
from collections.abc import Callable


class Gate:
    """Of one changelog partition, whose reports come in the order of its records."""

    __slots__ = ("_acknowledged", "_held", "_written")

    def __init__(self) -> None:
        self._written = 0
        self._acknowledged = 0
        self._held: deque[tuple[int, Callable[[], None]]] = deque()

    @property
    def holds(self) -> bool:
        """Whether an output waits."""
        return bool(self._held)

    def written(self) -> None:
        """A record was handed to the changelog's producer."""
        self._written += 1

    def acknowledged(self) -> None:
        """The next record is in the changelog: send what waited for it."""
        self._acknowledged += 1
        held = self._held
        while held and held[0][0] <= self._acknowledged:
            held.popleft()[1]()

    def send(self, output: Callable[[], None]) -> bool:
        """Send once all that was written so far is acknowledged, in order; whether it is."""
        if self._written == self._acknowledged:
            output()
            return True
        self._held.append((self._written, output))
        return False
