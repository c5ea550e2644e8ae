"""A gateway's routes on a real socket, under limits of connections.

As a program it serves with few descriptors: `python -m tests.support.served FOLDER DESCRIPTORS`
prints its port and the number of connections that it accepts.
"""

import asyncio
import resource
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any, Final, cast

import uvicorn
import uvloop

from pipeline.config import model
from pipeline.gateway.connections import (
    ConnectionLimits,
    Guard,
    max_connections_within_descriptors,
)
from pipeline.gateway.metrics import Metrics
from tests.support.doorway import configuration, doorway

KEY: Final = "server-key-1"


@contextmanager
def serving(folder: Path, limits: ConnectionLimits) -> Iterator[int]:
    """Provide the port of a running server."""
    door = doorway(configuration(model.Source("shop", "web", KEY)), folder)
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    server = _server(door.app, Guard(limits, Metrics()))
    thread = Thread(target=lambda: uvloop.run(_serve(*server, listener)), daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server[0].should_exit = server[0].force_exit = True
        thread.join()


def _server(app: Any, guard: Guard) -> tuple[uvicorn.Server, Guard]:
    http = cast(type[asyncio.Protocol], guard.protocol)
    backlog = min(2_048, guard.limits.max_connections)
    config = uvicorn.Config(
        app, http=http, backlog=backlog, lifespan="off", ws="none", log_config=None
    )
    return uvicorn.Server(config), guard


async def _serve(server: uvicorn.Server, guard: Guard, listener: socket.socket) -> None:
    watch_task = asyncio.create_task(guard.watch())
    await server.serve([listener])
    watch_task.cancel()


def _main(folder: str, descriptors: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
    capacity = max_connections_within_descriptors(4_096)
    limits = ConnectionLimits(capacity, 4_096, 65_536, 60, 60, 60, 60)
    with serving(Path(folder), limits) as port:
        print(port, capacity, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]))
