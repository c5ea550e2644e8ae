"""Iteration over events in runs: those that wait follow without turns of the event loop between.

Faust gives every event a turn of its own, so that the stages of a busy process alternate event by
event. Each would find the processor's caches full of the others' code and data, and its outputs
would leave in batches of one.
"""

import time
from collections.abc import AsyncIterator
from typing import Any, Final

_RUN_S: Final = 0.003
"""Longest time after which a run lets others in: as long as outputs may wait for a batch."""


async def in_runs(stream: Any) -> AsyncIterator[Any]:
    """Yield the events of a Faust stream; each is acknowledged once the next one is asked for.

    `current_event()` is the first event of the run. What waits is dropped once it is stale, as
    Faust does: it is read again after the rebalance.
    """
    waiting, app = stream.channel.queue, stream.app
    async for event in stream.events():
        yield event
        event.ack()  # now: who commits within the run counts on what it has processed
        ends_at = time.monotonic() + _RUN_S
        while not waiting.empty() and time.monotonic() < ends_at:
            event = waiting.get_nowait()
            if app.consumer.begin(event.message):
                yield event
                event.ack()
        app.producer.end_run(event.message.timestamp)
