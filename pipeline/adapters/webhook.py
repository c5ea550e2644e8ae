"""Webhooks: an action posted as signed JSON, tried again while it is still worth saying."""

import asyncio
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
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
    ClientTimeout,
)
from tenacity import AsyncRetrying, RetryCallState, RetryError, retry_if_exception_type
from tenacity.wait import wait_exponential_jitter

from pipeline.adapters import traces
from pipeline.adapters.traces import Trace
from pipeline.model.decision import Action

_LONGEST_REQUEST_S: Final = 30.0
_BACK_OFF: Final = wait_exponential_jitter(multiplier=0.2, max=30, jitter=0.5)
_TAKEN: Final = range(200, 300)
_FAILING: Final = range(500, 600)
_TRY_AGAIN: Final = frozenset({408, 425, 429})
_ENDPOINTS: Final = 256
_LOOK_S: Final = 0.25
_ANSWER_BYTES: Final = 16_384
_ANSWER_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a channel's actions go; `secret` signs them."""

    url: str
    secret: str | None


@dataclass(frozen=True, slots=True)
class Unusable:
    """Why actions cannot be posted until somebody mends the configuration or the environment."""

    why: str


FindEndpoint: TypeAlias = Callable[[], Endpoint | Unusable | None]
"""Asked before each try; None: the channel has no endpoint any more."""


@dataclass(frozen=True, slots=True)
class Taken:
    """The receiver answered 2xx."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The receiver will never take it."""

    status: int


@dataclass(frozen=True, slots=True)
class TooLate:
    """It could not be handed over while it was worth saying; `last` is the last failure.
    `unsure`: the receiver may have taken it, and its answer never came."""

    last: str
    unsure: bool = False


Result: TypeAlias = Taken | Refused | TooLate


@dataclass(frozen=True, slots=True)
class _Letter:
    """What every try sends."""

    key: str
    body: bytes
    trace: Trace


class _TryAgainError(Exception):
    """A failure that may pass; `after_s` is the receiver's wish."""

    def __init__(self, why: str, after_s: float = 0.0) -> None:
        super().__init__(why)
        self.after_s = after_s


class _NoAnswerError(_TryAgainError):
    """The receiver may have taken it."""


def signature(secret: str, timestamp_s: int, body: bytes) -> str:
    """`t=<epoch s>,v1=<hex HMAC-SHA256 of "t.body">`; compare in constant time, refuse old `t`."""
    digest = hmac.new(secret.encode(), f"{timestamp_s}.".encode() + body, sha256).hexdigest()
    return f"t={timestamp_s},v1={digest}"


async def post(
    client: ClientSession, find: FindEndpoint, action: Action, give_up_s: float, trace: Trace
) -> Result:
    """Post at least once until `give_up_s` (epoch s); every try has the action's id as its key, and
    is a hop of `trace`. A changed endpoint is tried at once."""
    if time.time() >= give_up_s:
        return TooLate("it was too late before the first try")
    letter = _Letter(action.action_id, msgspec.json.encode(action), trace)
    failures: set[type[object]] = set()
    retrying = AsyncRetrying(
        retry=retry_if_exception_type(_TryAgainError),
        wait=_wait,
        stop=lambda state: time.time() + state.upcoming_sleep >= give_up_s,
        after=lambda state: failures.add(type(_failure(state))),
        sleep=partial(_sleep_unless_changed, find),
    )
    try:
        return await retrying(_try, client, find, letter, give_up_s)
    except RetryError as error:
        return TooLate(str(error.last_attempt.exception()), _NoAnswerError in failures)


async def _sleep_unless_changed(find: FindEndpoint, seconds: float) -> None:
    until, before = time.monotonic() + seconds, find()
    while (left := until - time.monotonic()) > 0 and find() == before:
        await asyncio.sleep(min(left, _LOOK_S))


async def _try(
    client: ClientSession, find: FindEndpoint, letter: _Letter, give_up_s: float
) -> Result:
    endpoint = find()
    if endpoint is None:
        return Refused(0)
    if isinstance(endpoint, Unusable):
        raise _TryAgainError(endpoint.why)
    headers = {
        "Content-Type": "application/json",
        "Accept-Encoding": "identity",
        "Idempotency-Key": letter.key,
        traces.HEADER: letter.trace.hop().decode(),
    }
    if endpoint.secret is not None:
        headers["Kairos-Signature"] = signature(endpoint.secret, int(time.time()), letter.body)
    timeout = ClientTimeout(min(_LONGEST_REQUEST_S, max(give_up_s - time.time(), 0.001)))
    try:
        async with client.post(
            endpoint.url,
            data=letter.body,
            headers=headers,
            timeout=timeout,
            proxy=_proxy(endpoint.url),
            allow_redirects=False,
        ) as response:
            await _read_a_little(response)
    except ClientConnectorError as error:
        raise _TryAgainError(_reason(error)) from error
    except (ClientError, TimeoutError) as error:
        raise _NoAnswerError(_reason(error)) from error
    status = response.status
    if status in _TAKEN:
        return Taken()
    if status in _TRY_AGAIN or status in _FAILING:
        raise _TryAgainError(f"status {status}", _after_s(response.headers.get("Retry-After")))
    return Refused(status)


def _reason(error: ClientError | TimeoutError) -> str:
    """Return the failure as an outcome keeps it: without the path and query of the URL, in which
    there may be a secret."""
    name = type(error).__name__
    match error:
        case ClientOSError(strerror=str(detail)):
            return f"{name}: {detail}"
        case ClientResponseError():
            return f"{name}: {error.message}"
    return name


async def _read_a_little(response: ClientResponse) -> None:
    """Read the answer's body if it is short, so that its connection is used again.

    The status says what became of the action, whatever follows it: a longer or slower body is cut
    off with its connection.
    """
    left = _ANSWER_BYTES
    try:
        async with asyncio.timeout(_ANSWER_S):
            while left > 0 and (part := await response.content.read(left)):
                left -= len(part)
    except (ClientError, TimeoutError):
        left = 0
    if left <= 0:
        response.close()


@lru_cache(_ENDPOINTS)
def _proxy(url: str) -> str | None:
    """What HTTP_PROXY, HTTPS_PROXY and NO_PROXY say."""
    where = urlsplit(url)
    bypassed = where.hostname is None or proxy_bypass(where.hostname)
    return None if bypassed else getproxies().get(where.scheme)


def _failure(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome is not None else None


def _wait(state: RetryCallState) -> float:
    failure = _failure(state)
    wished = failure.after_s if isinstance(failure, _TryAgainError) else 0.0
    return max(_BACK_OFF(state), wished)


def _after_s(header: str | None) -> float:
    """Retry-After: seconds or a date; 0 without one that can be read."""
    if header is None:
        return 0.0
    if header.isdecimal():
        return float(header)
    try:
        return max(parsedate_to_datetime(header).timestamp() - time.time(), 0.0)
    except ValueError:
        return 0.0
