"""Expiry of actions whose reply arrived too late to be shown, which releases their caps."""

import asyncio
import logging
from typing import Final

from tenacity import AsyncRetrying, RetryError, retry_if_result, stop_after_delay
from tenacity.wait import wait_exponential_jitter

from pipeline.adapters import traces
from pipeline.gateway.gateway import Gateway, TracedInteraction
from pipeline.gateway.outcomes import expired_outcomes
from pipeline.model.decision import Reply
from pipeline.model.interaction import Interaction

_log = logging.getLogger(__name__)

_MAX_RETRY_S: Final = 120
_MAX_WAIT_S: Final = 5


class LateReplyExpiry:
    """Expiry of late replies: writes an `expired` outcome for each of their actions."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._tasks: set[asyncio.Task[None]] = set()

    def expire(self, reply: Reply) -> None:
        """Start writing and return at once; retry for two minutes while Kafka is away."""
        actions = [action for answer in reply.answers for action in answer.actions]
        if not actions:
            return
        self._gateway.metrics.count_expired(len(actions))
        task = asyncio.create_task(self._write(expired_outcomes(actions)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Wait for the writes in flight."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _write(self, outcomes: list[Interaction]) -> None:
        retry = AsyncRetrying(
            retry=retry_if_result(lambda failure: failure is not None),
            wait=wait_exponential_jitter(max=_MAX_WAIT_S),
            stop=stop_after_delay(_MAX_RETRY_S),
        )
        trace = traces.new_trace()
        records = [TracedInteraction(outcome, trace) for outcome in outcomes]
        try:
            await retry(self._gateway.write, records)
        except RetryError:
            ids = [outcome.event_id for outcome in outcomes]
            _log.error("expired outcomes of late decisions could not be written: %s", ids)
