"""Client of the gateway for a web shop: sends messages, shows answers, reports outcomes."""

import asyncio
import time
from collections.abc import Iterable, Sequence

from pipeline.adapters.gateway_client import GatewayClient
from pipeline.demo.reactions import DeliveredMessage, Reaction
from pipeline.demo.script import Step, Visit

_BUDGET_MS = 30_000


class Shop:
    """Keep-alive client with a write key; `concurrency` visitors at a time."""

    def __init__(self, url: str, write_key: str, concurrency: int = 16) -> None:
        self._client = GatewayClient(url, write_key, concurrency)
        self._gate = asyncio.Semaphore(concurrency)
        self.default_count = 0
        self._answer_ms: list[float] = []

    async def __aenter__(self) -> "Shop":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def visit(self, visit: Visit) -> list[DeliveredMessage]:
        """Send the steps of one visit in order; return the messages shown."""
        async with self._gate:
            messages_by_step = [await self._send(step) for step in visit]
        return [message for messages in messages_by_step for message in messages]

    def take_answer_times(self) -> list[float]:
        """Return the duration (ms) of each answer since the last call."""
        times, self._answer_ms = self._answer_ms, []
        return times

    async def report(self, reactions: Iterable[Reaction]) -> None:
        """Report reactions in one request, in order."""
        outcomes = [
            {"token": reaction.token, "outcome": reaction.outcome, "timestamp": reaction.at}
            for reaction in reactions
        ]
        if outcomes:
            async with self._gate:
                await self._client.post("/v1/outcomes", {"outcomes": outcomes})

    async def _send(self, step: Step) -> Sequence[DeliveredMessage]:
        if step.placement is None:
            await self._client.post("/v1/batch", {"batch": step.messages})
            return ()
        return await self._decide(step, step.placement)

    async def _decide(self, step: Step, placement: str) -> Sequence[DeliveredMessage]:
        sent_s = time.monotonic()
        answer = await self._client.post(
            "/v1/decide",
            {
                "interaction": step.messages[0],
                "placements": [placement],
                "budget_ms": _BUDGET_MS,
            },
        )
        self._answer_ms.append((time.monotonic() - sent_s) * 1000)
        self.default_count += answer["defaulted"]
        action = answer["placements"][placement]
        if action is None:
            return ()
        message = DeliveredMessage(
            action["action_id"], action["token"], action["offer"], is_outbound=False, at=step.at
        )
        return (message,)
