"""Limits on connections: duration of each phase, bytes before the body, number of connections.

A new connection above the limit replaces an open one: of the address with the most connections, an
idle one, else one with an incomplete header or body, the oldest first. A complete request is always
answered.
"""

import asyncio
import logging
import resource
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

import httptools
from starlette.requests import Request
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from pipeline.gateway.metrics import Metrics
from pipeline.gateway.responses import error_response
from pipeline.intake.refusal import Refusal

_log = logging.getLogger(__name__)

_WATCH_INTERVAL_S: Final = 0.5
_MAX_FRAMING: Final = 8
"""Bytes of chunk framing allowed per byte of body; a chunk of one byte needs five."""

_RESERVED_FILE_COUNT: Final = 64
"""Number of descriptors reserved for Kafka's connections and the view's files."""

_MIN_CONNECTIONS: Final = 8


_BEGINNING: Final = "kairos.began_s"
"""Name, in a request's scope, of the request's beginning, by the loop's clock."""


def beginning_s(request: Request) -> float:
    """Return the beginning of a request, by the loop's clock; now, where it was not recorded."""
    beginning = request.scope.get(_BEGINNING)
    return asyncio.get_running_loop().time() if beginning is None else float(beginning)


class Phase(IntEnum):
    """Phase of a connection, in the order of eviction."""

    IDLE = 0
    HEADER = 1
    BODY = 2
    ANSWER = 3


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Limits on connections in total and per address, bytes of a header, seconds of each phase."""

    max_connections: int
    max_per_address: int
    header_bytes: int
    header_s: float
    body_s: float
    idle_s: float
    answer_s: float

    def seconds(self, phase: Phase) -> float:
        """Return the time limit of `phase`."""
        return (self.idle_s, self.header_s, self.body_s, self.answer_s)[phase]


def max_connections_within_descriptors(limit: int) -> int:
    """Return `limit`, or less where this process has too few file descriptors.

    Half of the free descriptors are left for connections that arrive before others are evicted.
    The soft limit on descriptors is raised to the hard one first.
    """
    soft_limit, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
        soft_limit = hard_limit
    if soft_limit == resource.RLIM_INFINITY:
        return limit
    free_count = soft_limit - sum(1 for _ in Path("/dev/fd").iterdir()) - _RESERVED_FILE_COUNT
    room = max(_MIN_CONNECTIONS, min(limit, free_count // 2))
    if room < limit:
        _log.warning("%s descriptors allow %s connections, not %s", soft_limit, room, limit)
    return room


class Guard:
    """Admission and eviction of one server's connections."""

    def __init__(self, limits: ConnectionLimits, metrics: Metrics) -> None:
        self.limits = limits
        self._metrics = metrics
        self._open_connections: set[GuardedProtocol] = set()
        self._addresses: Counter[str] = Counter()

    def protocol(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> "GuardedProtocol":
        """Make the protocol of a new connection, with the signature that uvicorn expects."""
        return GuardedProtocol(self, config, server_state, app_state, _loop)

    async def watch(self) -> None:
        """Close connections whose phase takes too long, until cancelled."""
        while True:
            await asyncio.sleep(_WATCH_INTERVAL_S)
            for connection in [
                connection for connection in self._open_connections if connection.is_overdue
            ]:
                self._metrics.count_closed_connection(f"{connection.phase.name.lower()}-timeout")
                connection.time_out()

    def admit(self, connection: "GuardedProtocol") -> bool:
        """Admit a connection, perhaps in place of another; return False if none can be evicted."""
        address = connection.address
        if self._addresses[address] >= self.limits.max_per_address:
            has_room = self._evict(address)
        elif len(self._open_connections) >= self.limits.max_connections:
            has_room = self._evict(None)
        else:
            has_room = True
        if has_room:
            self._open_connections.add(connection)
            self._addresses[address] += 1
            self._metrics.set_connections(len(self._open_connections))
        return has_room

    def forget(self, connection: "GuardedProtocol") -> None:
        """Forget a connection that is closed, or about to be."""
        if connection in self._open_connections:
            self._open_connections.discard(connection)
            self._addresses[connection.address] -= 1
            if not self._addresses[connection.address]:
                del self._addresses[connection.address]
            self._metrics.set_connections(len(self._open_connections))

    def _evict(self, address: str | None) -> bool:
        """Evict a connection, among those of `address` where given; return False if none can be."""
        candidates = (
            connection
            for connection in self._open_connections
            if address in (None, connection.address)
        )
        idlest_connection = min(
            (connection for connection in candidates if connection.phase is not Phase.ANSWER),
            key=lambda connection: (
                -self._addresses[connection.address],
                connection.phase,
                connection.phase_began_s,
            ),
            default=None,
        )
        self._metrics.count_closed_connection("no-room")
        if idlest_connection is None:
            return False
        idlest_connection.abort()
        return True


class GuardedProtocol(HttpToolsProtocol):
    """Connection of uvicorn that keeps to its phase's limits."""

    def __init__(
        self,
        guard: Guard,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._guard = guard
        self._limits = guard.limits
        self._begin_count = self._header_count = self._body_count = self._answer_count = 0
        self._header_bytes = self._raw_header_bytes = 0
        self._body_bytes = self._framing_bytes = 0
        self._refusal = Refusal(400, "invalid_http", "this is not HTTP")
        self.phase = Phase.HEADER
        self.phase_began_s = self.loop.time()

    @property
    def address(self) -> str:
        return self.client[0] if self.client else ""

    @property
    def is_overdue(self) -> bool:
        return self.loop.time() - self.phase_began_s > self._limits.seconds(self.phase)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if not self._guard.admit(self):
            self._refuse(Refusal(503, "too_many_connections", "no room for one more connection"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._guard.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        former_phase, begin_count, body_bytes = self.phase, self._begin_count, self._body_bytes
        super().data_received(data)
        if self._begin_count != begin_count or self.transport.is_closing():
            return
        if former_phase is Phase.HEADER and self.phase is Phase.HEADER:
            self._raw_header_bytes += len(data)
        if former_phase is Phase.BODY and self.phase is Phase.BODY:
            self._framing_bytes += len(data) - _MAX_FRAMING * (self._body_bytes - body_bytes)
        if max(self._raw_header_bytes, self._framing_bytes) > self._limits.header_bytes:
            self._refuse(self._header_refusal())

    def time_out(self) -> None:
        """Answer 408 naming the missing part; close at once if nothing is missing."""
        was_answered = self._answer_count >= self._begin_count
        if was_answered or self.phase is Phase.ANSWER:
            self.abort()
        else:
            part = self.phase.name.lower()
            seconds = self._limits.seconds(self.phase)
            self._refuse(Refusal(408, "timeout", f"the {part} did not arrive in {seconds:g} s"))

    def abort(self) -> None:
        """Close at once, without an answer."""
        self._guard.forget(self)
        self.transport.abort()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope[_BEGINNING] = self.loop.time()  # type: ignore[typeddict-unknown-key]
        self._begin_count += 1
        self._header_bytes = self._raw_header_bytes = 0
        self._body_bytes = self._framing_bytes = 0
        self._enter()

    def on_url(self, url: bytes) -> None:
        self._count_header_bytes(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_header_bytes(len(name) + len(value) + len(b": \r\n"))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._header_count += 1
        self._enter()

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._body_count += 1
        self._enter()

    def on_response_complete(self) -> None:
        self._answer_count += 1
        self._enter()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse in JSON a request that cannot be parsed."""
        self._refuse(self._refusal)

    def _enter(self) -> None:
        """Enter the phase that follows from the counts; a complete request comes first."""
        if min(self._body_count, self._header_count) > self._answer_count:
            phase = Phase.ANSWER
        elif self._begin_count > self._header_count:
            phase = Phase.HEADER
        elif self._header_count > self._body_count:
            phase = Phase.BODY
        else:
            phase = Phase.IDLE
        if phase is not self.phase or phase in (Phase.IDLE, Phase.ANSWER):
            self.phase, self.phase_began_s = phase, self.loop.time()

    def _count_header_bytes(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > self._limits.header_bytes:
            self._refusal = self._header_refusal()
            raise httptools.HttpParserError(self._refusal.message)

    def _header_refusal(self) -> Refusal:
        message = f"a header may have {self._limits.header_bytes} bytes"
        return Refusal(431, "header_too_large", message)

    def _refuse(self, refusal: Refusal) -> None:
        """Answer without a complete request, and close."""
        if self.transport.is_closing():
            return
        body = bytes(error_response(refusal).body)
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[refusal.status] + head % len(body) + body)
        if self.transport.get_write_buffer_size():  # the client does not read
            self.abort()
        else:
            self.transport.close()
            self._guard.forget(self)
