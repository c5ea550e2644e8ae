"""Records that leave for the broker together.

To wake librdkafka's thread costs several times what handing over another record does, and what
leaves together is also written, read and processed together by whoever comes next.
"""

import asyncio
from collections.abc import Callable


class Bunch:
    """Of one client; used in the event loop only. `on_error` is told what handing over raised."""

    def __init__(self, window_s: float, on_error: Callable[[Exception], None]) -> None:
        self._window_s = window_s
        self._on_error = on_error
        self._loop = asyncio.get_running_loop()
        self._held: list[Callable[[], None]] = []
        self._ticking = False

    def __len__(self) -> int:
        return len(self._held)

    def add(self, produce: Callable[[], None]) -> None:
        """Have it leave within the window, in order."""
        self._held.append(produce)
        if not self._ticking:
            self._ticking = True
            self._loop.call_later(self._window_s, self._tick)

    def leave(self) -> None:
        """Leave now."""
        held, self._held = self._held, []
        try:
            for produce in held:
                produce()
        except Exception as error:
            self._on_error(error)

    def drop(self) -> None:
        """Forget what has not left."""
        self._held.clear()

    def _tick(self) -> None:
        self._ticking = False
        self.leave()
