"""Client of the gateway, with one write key and kept-alive connections."""

import asyncio
import time
from typing import Any, Final

import httpx

_TIMEOUT_S: Final = 60.0
_MAX_ANSWER_CHARACTERS: Final = 500
_OVERLOAD_STATUS: Final = httpx.codes.SERVICE_UNAVAILABLE


class GatewayRefusedError(Exception):
    """Raised when the gateway refuses a post, or a part of it. The message has its answer and
    `status` its code."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class GatewayClient:
    """Client that posts JSON by a write key; `concurrency`: maximum of concurrent requests."""

    def __init__(self, url: str, write_key: str, concurrency: int) -> None:
        limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        self._client = httpx.AsyncClient(
            base_url=url, auth=(write_key, ""), timeout=_TIMEOUT_S, limits=limits, trust_env=False
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Post a body, again while the gateway is overloaded; return the answer.

        Raises GatewayRefusedError, and httpx.HTTPError without an answer.
        """
        deadline = time.monotonic() + _TIMEOUT_S
        response = await self._client.post(path, json=body)
        while response.status_code == _OVERLOAD_STATUS and time.monotonic() < deadline:
            await asyncio.sleep(float(response.headers.get("Retry-After", "1")))
            response = await self._client.post(path, json=body)
        text = response.text[:_MAX_ANSWER_CHARACTERS]
        if response.status_code != httpx.codes.OK:
            message = f"POST {path}: {response.status_code} {text}"
            raise GatewayRefusedError(message, response.status_code)
        answer: dict[str, Any] = response.json()
        if answer.get("rejected"):
            raise GatewayRefusedError(f"POST {path}: {text}", response.status_code)
        return answer
