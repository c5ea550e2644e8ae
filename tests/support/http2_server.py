"""A real HTTP/2 server that records posts and sends planned answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded


@dataclass
class Http2Post:
    """Request, as far as it has been received."""

    path: str
    headers: dict[str, str]
    body: bytearray = field(default_factory=bytearray)

    @property
    def content(self) -> Any:
        return msgspec.json.decode(self.body)


@dataclass
class Http2Server:
    """Server of HTTP/2. `answers`: status and JSON for the next posts, None to cut the connection;
    200 follows."""

    posts: list[Http2Post] = field(default_factory=list)
    answers: list[tuple[int, Any] | None] = field(default_factory=list)
    connection_count: int = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Provide the URL."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connection_count += 1
        connection = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        connection.initiate_connection()
        streams: dict[int, Http2Post] = {}
        writer.write(connection.data_to_send())
        while data := await reader.read(65_536):
            for event in connection.receive_data(data):
                if isinstance(event, RequestReceived):
                    headers = {str(name): str(value) for name, value in event.headers}
                    streams[event.stream_id] = Http2Post(headers[":path"], headers)
                elif isinstance(event, DataReceived):
                    streams[event.stream_id].body += event.data
                    connection.acknowledge_received_data(len(event.data), event.stream_id)
                elif isinstance(event, StreamEnded):
                    self.posts.append(streams.pop(event.stream_id))
                    if not self._answer(connection, event.stream_id):
                        writer.transport.abort()
                        return
            writer.write(connection.data_to_send())
        writer.close()

    def _answer(self, connection: H2Connection, stream: int) -> bool:
        """Send the next answer; return False if the connection is to be cut instead."""
        answer = self.answers.pop(0) if self.answers else (200, None)
        if answer is None:
            return False
        status, content = answer
        connection.send_headers(stream, [(":status", str(status))], end_stream=content is None)
        if content is not None:
            connection.send_data(stream, msgspec.json.encode(content), end_stream=True)
        return True
