"""A worker that is stopped while it waits for room in its queue writes nothing more either."""

import asyncio
from pathlib import Path

from agents.app import AppOptions, create_app
from agents.transport.errors import SessionLostError
from agents.transport.lease import Lease

_LEASE_S = 9.0
_STOPPED_S = 13.0
_TURNS_UNTIL_STOPPED = 3
"""Looks at the clock: when the lease begins, and when each of two records leaves."""


def test_what_waited_for_room_when_the_lease_ended_does_not_leave(tmp_path: Path) -> None:
    options = AppOptions(
        bootstrap_servers="localhost:1",
        home=tmp_path,
        partitions=1,
        librdkafka={"queue.buffering.max.messages": "1"},
    )
    assert isinstance(asyncio.run(_failure(options)), SessionLostError)


async def _failure(options: AppOptions) -> BaseException | None:
    """What ends a worker whose queue has room for one record when it sends two."""
    app = create_app("full", options)
    looks = 0

    def clock() -> float:
        nonlocal looks
        looks += 1
        return 0.0 if looks <= _TURNS_UNTIL_STOPPED else _STOPPED_S

    transport, producer = app.transport, app.producer
    transport.lease = Lease(_LEASE_S, clock)  # type: ignore[attr-defined]
    async with producer:
        producer.send_raw("topic", None, b"first")  # type: ignore[attr-defined]
        producer.send_raw("topic", None, b"second")  # type: ignore[attr-defined]
        transport.lease.renew()  # type: ignore[attr-defined]
        producer.cut()  # type: ignore[attr-defined]
    return app.failure
