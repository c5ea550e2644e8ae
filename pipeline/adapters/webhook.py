"""Webhooks: an action posted as signed JSON, tried again while it is still worth saying."""

import hmac
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from hashlib import sha256
from typing import Final, TypeAlias

import httpx
import msgspec
from tenacity import AsyncRetrying, RetryCallState, RetryError, retry_if_exception_type
from tenacity.wait import wait_exponential_jitter

from pipeline.model.decision import Action

_LONGEST_REQUEST_S: Final = 30.0
_BACK_OFF: Final = wait_exponential_jitter(multiplier=0.2, max=30, jitter=0.5)
_TRY_AGAIN: Final = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a channel's actions go; `secret` signs them."""

    url: str
    secret: str | None


@dataclass(frozen=True, slots=True)
class Taken:
    """The receiver answered 2xx."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The receiver will never take it."""

    status: int


@dataclass(frozen=True, slots=True)
class TooLate:
    """It could not be handed over while it was worth saying; `last` is the last failure."""

    last: str


Result: TypeAlias = Taken | Refused | TooLate


class _TryAgainError(Exception):
    """A failure that may pass; `after_s` is the receiver's wish."""

    def __init__(self, why: str, after_s: float = 0.0) -> None:
        super().__init__(why)
        self.after_s = after_s


def signature(secret: str, timestamp_s: int, body: bytes) -> str:
    """`t=<epoch s>,v1=<hex HMAC-SHA256 of "t.body">`; compare in constant time, refuse old `t`."""
    digest = hmac.new(secret.encode(), f"{timestamp_s}.".encode() + body, sha256).hexdigest()
    return f"t={timestamp_s},v1={digest}"


async def post(
    client: httpx.AsyncClient, endpoint: Endpoint, action: Action, give_up_s: float
) -> Result:
    """At least once until `give_up_s` (epoch s); every try has the action's id as its key."""
    if time.time() >= give_up_s:
        return TooLate("it was too late before the first try")
    body = msgspec.json.encode(action)
    retrying = AsyncRetrying(
        retry=retry_if_exception_type(_TryAgainError),
        wait=_wait,
        stop=lambda state: time.time() + state.upcoming_sleep >= give_up_s,
    )
    try:
        return await retrying(_try, client, endpoint, action.action_id, body, give_up_s)
    except RetryError as error:
        return TooLate(str(error.last_attempt.exception()))


async def _try(
    client: httpx.AsyncClient, endpoint: Endpoint, key: str, body: bytes, give_up_s: float
) -> Result:
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    if endpoint.secret is not None:
        headers["Kairos-Signature"] = signature(endpoint.secret, int(time.time()), body)
    timeout = min(_LONGEST_REQUEST_S, max(give_up_s - time.time(), 0.001))
    try:
        response = await client.post(endpoint.url, content=body, headers=headers, timeout=timeout)
    except httpx.RequestError as error:
        raise _TryAgainError(f"{type(error).__name__}: {error}") from error
    if response.is_success:
        return Taken()
    if response.status_code in _TRY_AGAIN or response.is_server_error:
        why = f"status {response.status_code}"
        raise _TryAgainError(why, _after_s(response.headers.get("retry-after")))
    return Refused(response.status_code)


def _wait(state: RetryCallState) -> float:
    failure = state.outcome.exception() if state.outcome is not None else None
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
