"""Clients for posts to providers and push services, by HTTP/1.1 or HTTP/2."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

import httpx
from aiohttp import ClientConnectorError, ClientError, ClientSession

from pipeline.delivery.retries import (
    NoAnswerError,
    TryAgainError,
    request_timeout,
    retry_after_s,
)

_MAX_REPLY_BYTES: Final = 65_536
_MAX_REPLY_S: Final = 2.0
_MAX_DELAY_S: Final = 600.0
_UNSENT_ERRORS: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@dataclass(frozen=True, slots=True)
class HttpPost:
    """Request to send."""

    url: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class HttpReply:
    """Reply: its status, the part of its body that was read, and the delay that it requests."""

    status: int
    body: bytes
    delay_s: float


class NotSentError(TryAgainError):
    """Raised for a failure before the receiver can have received the request."""


class PostClient(Protocol):
    """Client for posts."""

    async def post(self, post: HttpPost, deadline_s: float) -> HttpReply:
        """Post once. Raises NotSentError, or NoAnswerError where the receiver may have the post."""
        ...


class Http1Client:
    """Client by HTTP/1.1; its opener closes the pool of connections."""

    def __init__(self, client: ClientSession) -> None:
        self._client = client

    async def post(self, post: HttpPost, deadline_s: float) -> HttpReply:
        """Post once; see PostClient."""
        try:
            async with self._client.post(
                post.url,
                data=post.body,
                headers=post.headers,
                timeout=request_timeout(deadline_s),
                allow_redirects=False,
            ) as response:
                body = await _read(response.content.iter_chunked(_MAX_REPLY_BYTES))
                return HttpReply(response.status, body, _delay_s(response.headers))
        except ClientConnectorError as error:
            raise NotSentError(type(error).__name__) from error
        except (ClientError, TimeoutError, ValueError) as error:
            raise NoAnswerError(type(error).__name__) from error


class Http2Client:
    """Client by HTTP/2, one connection to each receiver."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def post(self, post: HttpPost, deadline_s: float) -> HttpReply:
        """Post once; see PostClient."""
        try:
            async with (
                asyncio.timeout(request_timeout(deadline_s).total),
                self._client.stream(
                    "POST", post.url, content=post.body, headers=dict(post.headers)
                ) as response,
            ):
                body = await _read(response.aiter_bytes())
                return HttpReply(response.status_code, body, _delay_s(response.headers))
        except _UNSENT_ERRORS as error:
            raise NotSentError(type(error).__name__) from error
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise NoAnswerError(type(error).__name__) from error


@asynccontextmanager
async def open_http2() -> AsyncIterator[Http2Client]:
    """Open a client for HTTP/2 only."""
    async with httpx.AsyncClient(http1=False, http2=True, timeout=None) as client:
        yield Http2Client(client)


def _delay_s(headers: Mapping[str, str]) -> float:
    return min(retry_after_s(headers.get("Retry-After")), _MAX_DELAY_S)


async def _read(parts: Any) -> bytes:
    """Read a short reply; a longer or slower one is cut, since the status is enough."""
    body = bytearray()
    try:
        async with asyncio.timeout(_MAX_REPLY_S):
            async for part in parts:
                body += part
                if len(body) >= _MAX_REPLY_BYTES:
                    break
    except (ClientError, httpx.HTTPError, TimeoutError):
        pass
    return bytes(body)
