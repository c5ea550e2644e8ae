"""A worker ends if its lease expires while a record waits for room in its queue."""

import asyncio
from pathlib import Path
from threading import Timer

from agents.app import AppOptions, create_app
from agents.transport.errors import SessionLostError
from agents.transport.lease import Lease

_LEASE_S = 9.0
_PAUSE_S = 13.0
_WAIT_S = 0.5
"""Time until the worker's clock jumps; by then a record waits for room."""


def test_worker_ends_if_its_lease_expires_while_a_record_waits_for_room(tmp_path: Path) -> None:
    options = AppOptions(
        bootstrap_servers="localhost:1",
        home=tmp_path,
        partitions=1,
        librdkafka={"queue.buffering.max.messages": "1"},
    )
    assert isinstance(asyncio.run(_run_until_failure(options)), SessionLostError)


async def _run_until_failure(options: AppOptions) -> BaseException | None:
    """Send two records through a queue with room for one; return the error that ends the worker."""
    app = create_app("full", options)
    pauses_s: list[float] = []
    transport, producer = app.transport, app.producer
    transport.lease = Lease(_LEASE_S, lambda: sum(pauses_s))  # type: ignore[attr-defined]
    async with producer:
        producer.send_raw("topic", None, b"first")  # type: ignore[attr-defined]
        producer.send_raw("topic", None, b"second")  # type: ignore[attr-defined]
        transport.lease.renew()  # type: ignore[attr-defined]
        pause_timer = Timer(_WAIT_S, pauses_s.append, [_PAUSE_S])
        pause_timer.start()
        producer.cut()  # type: ignore[attr-defined]
        pause_timer.join()
    return app.failure
