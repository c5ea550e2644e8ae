"""Barrier that holds outputs until the changelog has acknowledged the rows that caused them.

A stage with several inputs may read them in another order after a kill, and decide differently. If
an output is sent only once its row is in the changelog, no later decision contradicts it.
"""

from collections import deque
from collections.abc import Callable


class ChangelogBarrier:
    """Barrier of one changelog partition, whose delivery reports come in the order of records."""

    __slots__ = ("_acknowledged_count", "_outputs", "_row_count")

    def __init__(self) -> None:
        self._row_count = 0
        self._acknowledged_count = 0
        self._outputs: deque[tuple[int, Callable[[], None]]] = deque()

    @property
    def is_holding(self) -> bool:
        """Whether an output waits for its rows."""
        return bool(self._outputs)

    def on_write(self) -> None:
        """Count a record that was handed to the changelog's producer."""
        self._row_count += 1

    def on_acknowledgement(self) -> None:
        """Count the next record as acknowledged, and send the outputs that waited for it."""
        self._acknowledged_count += 1
        outputs = self._outputs
        while outputs and outputs[0][0] <= self._acknowledged_count:
            outputs.popleft()[1]()

    def send(self, output: Callable[[], None]) -> bool:
        """Send `output` once all rows written so far are acknowledged; return whether it was sent
        at once.

        Outputs keep their order.
        """
        if self._row_count == self._acknowledged_count:
            output()
            return True
        self._outputs.append((self._row_count, output))
        return False
