"""Batch of records that are handed to a Kafka client together.

Waking librdkafka's thread costs several times as much as handing over another record, and records
that leave together are also written, read and processed together by the next stage.
"""

import asyncio
from collections.abc import Callable


class MicroBatch:
    """Batch of one client; used in the event loop only. `window_s` may change for later records.

    `on_error` gets an exception raised while records are handed over.
    """

    def __init__(self, window_s: float, on_error: Callable[[Exception], None]) -> None:
        self.window_s = window_s
        self._on_error = on_error
        self._loop = asyncio.get_running_loop()
        self._records: list[Callable[[], None]] = []
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._records)

    def add(self, produce: Callable[[], None]) -> None:
        """Call `produce` within the window, in the order of calls."""
        self._records.append(produce)
        if self._timer is None:
            self._timer = self._loop.call_later(self.window_s, self._tick)

    def hasten(self, seconds: float) -> None:
        """Hand the waiting records over within `seconds`; later records get a new window."""
        timer = self._timer
        if timer is not None and timer.when() > self._loop.time() + seconds:
            timer.cancel()
            self._timer = self._loop.call_later(seconds, self._tick)

    def flush(self) -> None:
        """Hand everything over now."""
        records, self._records = self._records, []
        try:
            for produce in records:
                produce()
        except Exception as error:
            self._on_error(error)

    def drop(self) -> None:
        """Drop the waiting records."""
        self._records.clear()

    def _tick(self) -> None:
        self._timer = None
        self.flush()
