"""Outcomes to the gateway, until it has taken them."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import httpx
from tenacity import AsyncRetrying, retry_if_exception_type
from tenacity.wait import wait_exponential_jitter

_log = logging.getLogger(__name__)

_TIMEOUT_S: Final = 15.0
_FINAL: Final = frozenset({400, 413, 422})


@dataclass(frozen=True, slots=True)
class Address:
    """The gateway's base URL and the write key of the source `adapters`."""

    url: str
    write_key: str


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


class Reporter:
    """`address` is asked before each try: gateways move, and keys change."""

    def __init__(
        self, client: httpx.AsyncClient, address: Callable[[], Address | NoAddress]
    ) -> None:
        self._client = client
        self._address = address

    async def report(self, outcome: bytes) -> Unacceptable | None:
        """None once the gateway has acknowledged it, however long that takes."""
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_NotYetError),
            wait=wait_exponential_jitter(initial=0.1, max=5),
            before_sleep=lambda state: _log.warning(
                "outcome not taken yet: %s", state.outcome and state.outcome.exception()
            ),
        )
        return await retrying(self._try, outcome)

    async def _try(self, outcome: bytes) -> Unacceptable | None:
        address = self._address()
        if isinstance(address, NoAddress):
            raise _NotYetError(address.why)
        try:
            response = await self._client.post(
                f"{address.url}/v1/outcomes",
                content=outcome,
                headers={"Content-Type": "application/json"},
                auth=(address.write_key, ""),
                timeout=_TIMEOUT_S,
            )
        except httpx.RequestError as error:
            raise _NotYetError(f"{address.url}: {type(error).__name__} {error}") from error
        if response.is_success:
            return None
        if response.status_code in _FINAL:
            return Unacceptable(response.status_code, response.text)
        raise _NotYetError(f"{address.url} answers {response.status_code}: {response.text}")
