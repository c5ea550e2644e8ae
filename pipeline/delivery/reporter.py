"""Outcomes to the gateway, until it has taken them."""

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
_TAKEN: Final = range(200, 300)
_BAD: Final = 400
_FINAL: Final = frozenset({_BAD, 413, 422})
_BATCH: Final = 50


@dataclass(frozen=True, slots=True)
class Address:
    """The gateway's base URL and the key of Kairos's own adapters."""

    url: str
    key: str


@dataclass(frozen=True, slots=True)
class NoAddress:
    """Why there is none yet."""

    why: str


@dataclass(frozen=True, slots=True)
class Unacceptable:
    """The gateway will never take this outcome."""

    status: int
    answer: str


class _NotYetError(Exception):
    """The gateway could not take it this time."""


class _Rejected(Struct, frozen=True):
    """One outcome of several that the gateway did not take."""

    index: int
    message: str


class _Answer(Struct, frozen=True):
    """What the gateway says to several."""

    rejected: tuple[_Rejected, ...] = ()


@dataclass(eq=False, slots=True)
class _Waiting:
    outcome: bytes
    settled: bool = False
    refusal: Unacceptable | None = None


class Reporter:
    """One batch is on its way at a time; what comes meanwhile goes with the next.

    `address` is asked before each try: gateways move, and keys change.
    """

    def __init__(self, client: ClientSession, address: Callable[[], Address | NoAddress]) -> None:
        self._client = client
        self._address = address
        self._waiting: dict[_Waiting, None] = {}
        self._sending = asyncio.Lock()

    async def report(self, outcome: bytes) -> Unacceptable | None:
        """None once the gateway has acknowledged it, however long that takes."""
        mine = _Waiting(outcome)
        self._waiting[mine] = None
        try:
            async with self._sending:  # whose turn it is has waited longest, or is settled
                if not mine.settled:
                    await self._send(list(islice(self._waiting, _BATCH)))
        finally:
            self._waiting.pop(mine, None)
        return mine.refusal

    async def _send(self, batch: Sequence[_Waiting]) -> None:
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_NotYetError),
            wait=wait_exponential_jitter(multiplier=0.1, max=5),
            before_sleep=lambda state: _log.warning(
                "outcomes not taken yet: %s", state.outcome and state.outcome.exception()
            ),
        )
        refusals: dict[int, Unacceptable] = await retrying(
            self._try, [one.outcome for one in batch]
        )
        for index, one in enumerate(batch):
            self._waiting.pop(one, None)
            one.settled, one.refusal = True, refusals.get(index)

    async def _try(self, outcomes: Sequence[bytes]) -> dict[int, Unacceptable]:
        """Those that the gateway will never take."""
        status, text = await self._post(b'{"outcomes":[%b]}' % b",".join(outcomes))
        rejected = _rejected(text)
        if status in _TAKEN or (status in _FINAL and rejected):
            return {one.index: Unacceptable(_BAD, one.message) for one in rejected}
        if status not in _FINAL:
            raise _NotYetError(f"the gateway answers {status}: {text}")
        if len(outcomes) == 1:
            return {0: Unacceptable(status, text)}
        return {
            index: refusal
            for index, outcome in enumerate(outcomes)
            for refusal in (await self._try([outcome])).values()
        }

    async def _post(self, body: bytes) -> tuple[int, str]:
        """Status and text of the answer."""
        address = self._address()
        if isinstance(address, NoAddress):
            raise _NotYetError(address.why)
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


def _rejected(text: str) -> tuple[_Rejected, ...]:
    try:
        return msgspec.json.decode(text, type=_Answer).rejected
    except msgspec.DecodeError:
        return ()
