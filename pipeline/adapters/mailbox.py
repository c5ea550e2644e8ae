"""Substitute for an e-mail provider: a webhook receiver that keeps messages.

It honours `Idempotency-Key`: a request with a repeated key is answered, but its message is not kept
again. While `gate` is not set, senders wait for the answer, so that reports of delivery reach the
pipeline between the rounds of a simulation, and not during one.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.model.decision import Action

_HOST = "127.0.0.1"


class Mailbox:
    """Receiver of messages; `repeat_count`: number of requests with a repeated idempotency key."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.repeat_count = 0
        self._unread: list[Action] = []
        self._keys: set[str] = set()

    def take(self) -> list[Action]:
        """Return the messages received since the last call."""
        unread, self._unread = self._unread, []
        return unread

    async def receive(self, request: Request) -> Response:
        """Keep a message; answer once `gate` is set."""
        key = request.headers["idempotency-key"]
        if key in self._keys:
            self.repeat_count += 1
        else:
            self._keys.add(key)
            self._unread.append(msgspec.json.decode(await request.body(), type=Action))
        await self.gate.wait()
        return Response(status_code=200)


class _Server(uvicorn.Server):
    """Server that leaves signals to its program."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serve(mailbox: Mailbox, port: int) -> AsyncIterator[None]:
    """Listen on 127.0.0.1:`port`, on any path, while the context lasts. Raises OSError."""
    listener = socket.create_server((_HOST, port))
    app = Starlette(routes=[Route("/{path:path}", mailbox.receive, methods=["POST"])])
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off")
    server = _Server(config)
    task = asyncio.create_task(server.serve([listener]))
    try:
        yield
    finally:
        mailbox.gate.set()
        server.should_exit = True
        await task
