"""Report of outcomes to the gateway, with retries until it accepts or rejects them."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

import msgspec
from aiohttp import ClientError, ClientSession, ClientTimeout, encode_basic_auth
from msgspec import Struct
from tenacity import AsyncRetrying, retry_if_exception_type
from tenacity.wait import wait_exponential_jitter

_log = logging.getLogger(__name__)

_TIMEOUT: Final = ClientTimeout(15.0)
_SUCCESS_STATUSES: Final = range(200, 300)
_BAD_REQUEST: Final = 400
_FINAL_STATUSES: Final = frozenset({_BAD_REQUEST, 413, 422})
_MAX_BATCH_SIZE: Final = 50


@dataclass(frozen=True, slots=True)
class GatewayAddress:
    """Base URL of the gateway, and the write key of Kairos's own adapters."""

    url: str
    key: str


@dataclass(frozen=True, slots=True)
class NoGateway:
    """Reason why there is no gateway yet."""

    reason: str


class OutcomeReport(Struct, frozen=True, omit_defaults=True):
    """Outcome for `/v1/outcomes`; `timestamp` is in epoch ms."""

    token: str
    outcome: str
    timestamp: int
    traceparent: str | None = None
    properties: dict[str, str | int] = msgspec.field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RejectedOutcome:
    """Permanent rejection of an outcome by the gateway."""

    status: int
    answer: str


class _NotYetError(Exception):
    """Raised while the gateway is missing, or fails temporarily."""


class _Rejection(Struct, frozen=True):
    """Rejection of one outcome of several."""

    index: int
    message: str


class _GatewayAnswer(Struct, frozen=True):
    """Answer of the gateway to several outcomes."""

    rejected: tuple[_Rejection, ...] = ()


@dataclass(eq=False, slots=True)
class _PendingOutcome:
    outcome: bytes
    is_done: bool = False
    rejection: RejectedOutcome | None = None


class Reporter:
    """Reporter that sends one batch at a time; outcomes that arrive meanwhile go with the next one.

    `address` is called before each try, because gateways and keys change.
    """

    def __init__(
        self, client: ClientSession, address: Callable[[], GatewayAddress | NoGateway]
    ) -> None:
        self._client = client
        self._address = address
        self._queue: dict[_PendingOutcome, None] = {}
        self._lock = asyncio.Lock()

    async def report(self, outcome: bytes) -> RejectedOutcome | None:
        """Report an outcome, with retries; return its permanent rejection, if there is one."""
        pending = _PendingOutcome(outcome)
        self._queue[pending] = None
        try:
            async with self._lock:  # an earlier holder may have sent this outcome too
                if not pending.is_done:
                    await self._send(list(islice(self._queue, _MAX_BATCH_SIZE)))
        finally:
            self._queue.pop(pending, None)
        return pending.rejection

    async def _send(self, batch: Sequence[_PendingOutcome]) -> None:
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_NotYetError),
            wait=wait_exponential_jitter(multiplier=0.1, max=5),
            before_sleep=lambda state: _log.warning(
                "outcomes not accepted yet: %s", state.outcome and state.outcome.exception()
            ),
        )
        rejections: dict[int, RejectedOutcome] = await retrying(
            self._try, [pending.outcome for pending in batch]
        )
        for index, pending in enumerate(batch):
            self._queue.pop(pending, None)
            pending.is_done, pending.rejection = True, rejections.get(index)

    async def _try(self, outcomes: Sequence[bytes]) -> dict[int, RejectedOutcome]:
        """Post outcomes; return the permanent rejections by index. Raises _NotYetError."""
        status, text = await self._post(b'{"outcomes":[%b]}' % b",".join(outcomes))
        rejections = _parse_rejections(text)
        if status in _SUCCESS_STATUSES or (status in _FINAL_STATUSES and rejections):
            return {
                rejection.index: RejectedOutcome(_BAD_REQUEST, rejection.message)
                for rejection in rejections
            }
        if status not in _FINAL_STATUSES:
            raise _NotYetError(f"the gateway answers {status}: {text}")
        if len(outcomes) == 1:
            return {0: RejectedOutcome(status, text)}
        return {
            index: rejection
            for index, outcome in enumerate(outcomes)
            for rejection in (await self._try([outcome])).values()
        }

    async def _post(self, body: bytes) -> tuple[int, str]:
        """Post once; return status and text of the answer. Raises _NotYetError."""
        address = self._address()
        if isinstance(address, NoGateway):
            raise _NotYetError(address.reason)
        try:
            async with self._client.post(
                f"{address.url}/v1/outcomes",
                data=body,
                headers={
                    "Content-Type": "application/json",
                    "Authorization": encode_basic_auth(address.key, ""),
                },
                timeout=_TIMEOUT,
            ) as response:
                return response.status, await response.text(errors="replace")
        except (ClientError, TimeoutError) as error:
            raise _NotYetError(f"{address.url}: {type(error).__name__} {error}") from error


def _parse_rejections(text: str) -> tuple[_Rejection, ...]:
    try:
        return msgspec.json.decode(text, type=_GatewayAnswer).rejected
    except msgspec.DecodeError:
        return ()
