"""Barrier that holds outputs until the changelog has acknowledged the rows that caused them.

A stage with several inputs may read them in another order after a kill, and decide differently. An
output sent only once its row is safe is never contradicted by another decision.
"""

from collections import deque
from collections.abc import Callable


class ChangelogBarrier:
    """Barrier of one changelog partition, whose delivery reports come in the order of records."""

    __slots__ = ("_acknowledged", "_held", "_written")

    def __init__(self) -> None:
        self._written = 0
        self._acknowledged = 0
        self._held: deque[tuple[int, Callable[[], None]]] = deque()

    @property
    def is_holding(self) -> bool:
        """Whether an output waits for its rows."""
        return bool(self._held)

    def on_written(self) -> None:
        """Count a record that was handed to the changelog's producer."""
        self._written += 1

    def on_acknowledged(self) -> None:
        """Count the next record as delivered, and send the outputs that waited for it."""
        self._acknowledged += 1
        held = self._held
        while held and held[0][0] <= self._acknowledged:
            held.popleft()[1]()

    def send(self, output: Callable[[], None]) -> bool:
        """Send `output` once all rows written so far are acknowledged; return whether it was sent
        at once.

        Outputs keep their order.
        """
        if self._written == self._acknowledged:
            output()
            return True
        self._held.append((self._written, output))
        return False
