"""Pool of connections to one SMTP server."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from aiosmtplib import SMTP
from aiosmtplib.errors import SMTPException

from pipeline.config.smtp_urls import SmtpServer

_TIMEOUT_S: Final = 60.0
"""Time limit of one answer; RFC 5321 allows minutes, most servers answer within a second."""

_MAX_MESSAGES: Final = 100
"""Maximum number of messages of one connection, since servers close a connection after many."""

_IDLE_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Login:
    """User and password for an SMTP server."""

    user: str
    password: str


@dataclass(frozen=True, slots=True)
class Mailer:
    """Server of a channel's messages, with the limit of connections to it."""

    server: SmtpServer
    login: Login | None
    max_connections: int


@dataclass(slots=True)
class _Connection:
    client: SMTP
    message_count: int = 0
    idle_since: float = 0.0

    @property
    def is_reusable(self) -> bool:
        return (
            self.client.is_connected
            and self.message_count < _MAX_MESSAGES
            and time.monotonic() - self.idle_since < _IDLE_S
        )


class ConnectionPool:
    """Connections to one server, opened on demand and kept for the next message."""

    def __init__(self, mailer: Mailer) -> None:
        self._mailer = mailer
        self._slots = asyncio.Semaphore(mailer.max_connections)
        self._idle_connections: list[_Connection] = []

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[SMTP]:
        """Open a connection, or take an idle one, for one message; wait while all are in use.

        Raises SMTPException, OSError. After an exception in the body the connection is closed.
        """
        async with self._slots:
            connection = await self._take()
            try:
                yield connection.client
            except BaseException:
                connection.client.close()
                raise
            connection.message_count += 1
            connection.idle_since = time.monotonic()
            self._idle_connections.append(connection)

    async def close(self) -> None:
        """Close the connections that are not in use."""
        while self._idle_connections:
            await _quit(self._idle_connections.pop())

    async def _take(self) -> _Connection:
        while self._idle_connections:
            connection = self._idle_connections.pop()
            if connection.is_reusable:
                with suppress(SMTPException, OSError):
                    await connection.client.rset()
                    return connection
            await _quit(connection)
        return _Connection(await self._connect())

    async def _connect(self) -> SMTP:
        server, login = self._mailer.server, self._mailer.login
        client = SMTP(
            hostname=server.host,
            port=server.port,
            timeout=_TIMEOUT_S,
            use_tls=server.encryption == "tls",
            start_tls=server.encryption == "starttls",
        )
        try:
            await client.connect()
            if login is not None:
                await client.login(login.user, login.password)
            await client.ehlo()
        except BaseException:
            client.close()
            raise
        return client


async def _quit(connection: _Connection) -> None:
    if connection.client.is_connected:
        with suppress(SMTPException, OSError):
            await connection.client.quit()
    connection.client.close()
