"""Iteration over events in runs: pending events follow each other without a turn of the event loop.

Faust gives every event a turn of its own, so that the stages of a busy process alternate event by
event. Each would find the processor's caches full of the others' code and data, and send its
outputs in batches of one.
"""

import time
from collections.abc import AsyncIterator
from typing import Any, Final

_MAX_RUN_S: Final = 0.003
"""Longest time of a run before other stages get a turn: the linger time of outputs."""


async def iterate_in_runs(stream: Any) -> AsyncIterator[Any]:
    """Yield the events of a Faust stream; each is acknowledged when the next one is requested.

    `current_event()` is the first event of the run. Stale pending events are dropped, as by Faust:
    they are read again after the rebalance.
    """
    queue, app = stream.channel.queue, stream.app
    async for event in stream.events():
        yield event
        event.ack()  # at once: a commit within the run must include this event
        deadline = time.monotonic() + _MAX_RUN_S
        while not queue.empty() and time.monotonic() < deadline:
            event = queue.get_nowait()
            if app.consumer.begin(event.message):
                yield event
                event.ack()
        app.producer.end_run(event.message.timestamp)
