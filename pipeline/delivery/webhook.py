"""Adapter of webhooks: posts an action as signed JSON, with retries until its deadline."""

import asyncio
import hmac
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import sha256
from typing import Final, TypeAlias
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import msgspec
from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientOSError,
    ClientResponse,
    ClientResponseError,
    ClientSession,
    DummyCookieJar,
    TCPConnector,
)

from pipeline.adapters import traces
from pipeline.adapters.traces import Trace
from pipeline.config.compiled import CompiledChannel
from pipeline.config.keys import expand_variables
from pipeline.config.urls import url_problem
from pipeline.delivery.channel_adapter import (
    Acceptance,
    AdapterHost,
    Attempt,
    Bounce,
    ChannelAdapter,
    DeliveryResult,
    Parcel,
)
from pipeline.delivery.retries import (
    MisconfiguredError,
    NoAnswerError,
    TryAgainError,
    deliver_until,
    request_timeout,
    retry_after_s,
)
from pipeline.home.channel_faults import ChannelFaults

_MAX_WAIT_S: Final = 30.0
_SUCCESS_STATUSES: Final = range(200, 300)
_SERVER_ERRORS: Final = range(500, 600)
_RETRY_STATUSES: Final = frozenset({408, 425, 429})
_MAX_ENDPOINTS: Final = 256
_MAX_CONNECTIONS: Final = 64
"""Limit of connections to one receiver."""

_CHECK_S: Final = 0.25
_MAX_ANSWER_BYTES: Final = 16_384
_MAX_ANSWER_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Receiver of a channel's actions; `secret` signs them."""

    url: str
    secret: str | None


@dataclass(frozen=True, slots=True)
class EndpointProblem:
    """Reason why actions cannot be posted until the configuration or environment is corrected."""

    reason: str


FindEndpoint: TypeAlias = Callable[[], Endpoint | EndpointProblem | None]
"""Lookup of the endpoint, before each try; None: the channel no longer has one."""


@dataclass(frozen=True, slots=True)
class _WebhookContent:
    """Content of every try until `deadline_s` (epoch s), each recorded in `attempt`."""

    key: str
    body: bytes
    trace: Trace
    deadline_s: float
    attempt: Attempt


class WebhookAdapter:
    """Adapter that posts to the endpoint of each channel, which `endpoint_of` looks up.

    Every try has the action's id as its idempotency key, and is a hop of the parcel's trace. A
    change of the endpoint ends the wait for the next try.
    """

    def __init__(
        self,
        client: ClientSession,
        endpoint_of: Callable[[str], Endpoint | EndpointProblem | None],
        faults: ChannelFaults | None = None,
    ) -> None:
        self._client = client
        self._endpoint_of = endpoint_of
        self._faults = faults or ChannelFaults()

    def serves(self, channel: str) -> bool:
        return self._endpoint_of(channel) is not None

    def may_repeat(self, channel: str) -> bool:
        """Return True: receivers recognise duplicates by the idempotency key."""
        return True

    async def deliver(self, parcel: Parcel, attempt: Attempt) -> DeliveryResult:
        find_endpoint = partial(self._endpoint_of, parcel.action.channel)
        attempt_once = partial(_try, self._client, find_endpoint, _content(parcel, attempt))
        return await deliver_until(
            parcel,
            _MAX_WAIT_S,
            self._faults,
            attempt_once,
            sleep=partial(_sleep_unless_changed, find_endpoint),
        )


@asynccontextmanager
async def open_adapter(host: AdapterHost) -> AsyncIterator[ChannelAdapter]:
    """Open the adapter with a pool of connections to the receivers."""
    connector = TCPConnector(limit=0, limit_per_host=_MAX_CONNECTIONS)
    async with ClientSession(
        connector=connector, cookie_jar=DummyCookieJar(), auto_decompress=False, read_bufsize=16_384
    ) as client:
        yield WebhookAdapter(client, lambda name: _endpoint(host.find_channel(name)), host.faults)


def _endpoint(channel: CompiledChannel | None) -> Endpoint | EndpointProblem | None:
    """Return the channel's endpoint, with secrets from this process's environment; None: it has
    none."""
    if channel is None or channel.url is None:
        return None
    url = expand_variables(channel.url, os.environ)
    secret = None if channel.secret is None else expand_variables(channel.secret, os.environ)
    if url is None or (channel.secret is not None and not secret):
        field = "url" if url is None else "secret"
        return EndpointProblem(f"channel {channel.name}: a variable in `{field}` is not set here")
    problem = _check_url(url)
    if problem is not None:
        return EndpointProblem(f"channel {channel.name}: {problem}")
    return Endpoint(url, secret)


@lru_cache(_MAX_ENDPOINTS)
def _check_url(url: str) -> str | None:
    return url_problem(url)


def signature(secret: str, timestamp_s: int, body: bytes) -> str:
    """Return `t=<epoch s>,v1=<hex HMAC-SHA256 of "t.body">`.

    Receivers compare it in constant time, and refuse an old `t`.
    """
    digest = hmac.new(secret.encode(), f"{timestamp_s}.".encode() + body, sha256).hexdigest()
    return f"t={timestamp_s},v1={digest}"


def _content(parcel: Parcel, attempt: Attempt) -> _WebhookContent:
    body = msgspec.json.encode(parcel.action)
    return _WebhookContent(parcel.action.action_id, body, parcel.trace, parcel.deadline_s, attempt)


async def _sleep_unless_changed(find_endpoint: FindEndpoint, seconds: float) -> None:
    """Sleep until the time is over, or the endpoint has changed."""
    ends_at, endpoint = time.monotonic() + seconds, find_endpoint()
    while (remaining_s := ends_at - time.monotonic()) > 0 and find_endpoint() == endpoint:
        await asyncio.sleep(min(remaining_s, _CHECK_S))


async def _try(
    client: ClientSession, find_endpoint: FindEndpoint, content: _WebhookContent
) -> DeliveryResult:
    endpoint = find_endpoint()
    if endpoint is None:
        return Bounce(0)
    if isinstance(endpoint, EndpointProblem):
        raise MisconfiguredError(endpoint.reason)
    headers = {
        "Content-Type": "application/json",
        "Accept-Encoding": "identity",
        "Idempotency-Key": content.key,
        traces.HEADER: content.trace.hop_header().decode(),
    }
    if endpoint.secret is not None:
        headers["Kairos-Signature"] = signature(endpoint.secret, int(time.time()), content.body)
    content.attempt.begin()
    try:
        async with client.post(
            endpoint.url,
            data=content.body,
            headers=headers,
            timeout=request_timeout(content.deadline_s),
            proxy=_proxy(endpoint.url),
            allow_redirects=False,
        ) as response:
            await _read_short_body(response)
    except ClientConnectorError as error:
        content.attempt.record_failure()
        raise TryAgainError(_reason(error)) from error
    except (ClientError, TimeoutError) as error:
        raise NoAnswerError(_reason(error)) from error
    status = response.status
    if status in _SUCCESS_STATUSES:
        return Acceptance()
    if status in _RETRY_STATUSES or status in _SERVER_ERRORS:
        content.attempt.record_failure()
        raise TryAgainError(f"status {status}", retry_after_s(response.headers.get("Retry-After")))
    return Bounce(status)


def _reason(error: ClientError | TimeoutError) -> str:
    """Describe a failure for the outcome, without the URL's path and query, which may be secret."""
    name = type(error).__name__
    match error:
        case ClientOSError(strerror=str(detail)):
            return f"{name}: {detail}"
        case ClientResponseError():
            return f"{name}: {error.message}"
    return name


async def _read_short_body(response: ClientResponse) -> None:
    """Read the answer's body if it is short, so that its connection can be reused.

    The status alone decides: the connection of a longer or slower body is closed.
    """
    remaining_bytes = _MAX_ANSWER_BYTES
    try:
        async with asyncio.timeout(_MAX_ANSWER_S):
            while remaining_bytes > 0 and (part := await response.content.read(remaining_bytes)):
                remaining_bytes -= len(part)
    except (ClientError, TimeoutError):
        remaining_bytes = 0
    if remaining_bytes <= 0:
        response.close()


@lru_cache(_MAX_ENDPOINTS)
def _proxy(url: str) -> str | None:
    """Return the proxy from HTTP_PROXY, HTTPS_PROXY and NO_PROXY; None: post directly."""
    parts = urlsplit(url)
    is_direct = parts.hostname is None or proxy_bypass(parts.hostname)
    return None if is_direct else getproxies().get(parts.scheme)
