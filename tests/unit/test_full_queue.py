"""A worker that is stopped while it waits for room in its queue writes nothing more."""

import asyncio
from pathlib import Path
from threading import Timer

from agents.app import AppOptions, create_app
from agents.transport.errors import SessionLostError
from agents.transport.lease import Lease

_LEASE_S = 9.0
_PAUSE_S = 13.0
_WAIT_S = 0.5
"""Time until the worker is stopped, in which a record begins to wait for room."""


def test_record_that_waited_for_room_does_not_leave_after_the_lease(tmp_path: Path) -> None:
    options = AppOptions(
        bootstrap_servers="localhost:1",
        home=tmp_path,
        partitions=1,
        librdkafka={"queue.buffering.max.messages": "1"},
    )
    assert isinstance(asyncio.run(_failure(options)), SessionLostError)


async def _failure(options: AppOptions) -> BaseException | None:
    """Return the error that ends a worker whose queue has room for one record when it sends two."""
    app = create_app("full", options)
    pauses_s: list[float] = []
    transport, producer = app.transport, app.producer
    transport.lease = Lease(_LEASE_S, lambda: sum(pauses_s))  # type: ignore[attr-defined]
    async with producer:
        producer.send_raw("topic", None, b"first")  # type: ignore[attr-defined]
        producer.send_raw("topic", None, b"second")  # type: ignore[attr-defined]
        transport.lease.renew()  # type: ignore[attr-defined]
        stop = Timer(_WAIT_S, pauses_s.append, [_PAUSE_S])
        stop.start()
        producer.cut()  # type: ignore[attr-defined]
        stop.join()
    return app.failure
