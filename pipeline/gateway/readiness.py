"""`/readyz`: probes that must pass through all stages, in every partition, and return.

The route needs no key, so probes are limited, and their topic has a retention of an hour.
"""

import asyncio
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from msgspec import Struct

from pipeline.adapters.clock import now_ms
from pipeline.adapters.kafka import OutgoingRecord, key_per_partition
from pipeline.gateway.gateway import Gateway
from pipeline.gateway.replies import PendingReplies
from pipeline.intake.refusal import Refusal
from pipeline.model import topics
from pipeline.model.identity import IdentityChange
from pipeline.model.interaction import DecideRequest

_WAIT_MS: Final = 2_000
_RETRY_MS: Final = 1_000
"""Time for which a negative answer is reused."""

_READY_MS: Final = 5_000
"""Time for which a positive answer is reused."""


class ReadyAnswer(Struct, frozen=True):
    """Answer of `/readyz`; `missing` describes each part that does not answer."""

    ready: bool
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _ProbeResult:
    """Result of the probes sent at `at_ms` (epoch ms)."""

    at_ms: int
    answer: ReadyAnswer


class GatewayReadiness:
    """Prober that runs at most once a second, and once in five seconds while all parts work."""

    def __init__(
        self, gateway: Gateway, pending_replies: PendingReplies, partition_count: int
    ) -> None:
        self._gateway = gateway
        self._pending_replies = pending_replies
        self._keys = key_per_partition("probe", partition_count)
        self._lock = asyncio.Lock()
        self._latest_result = _ProbeResult(0, ReadyAnswer(False, ()))

    async def check(self) -> ReadyAnswer:
        """Return the latest answer, after new probes if it is too old."""
        async with self._lock:
            interval_ms = _READY_MS if self._latest_result.answer.ready else _RETRY_MS
            if now_ms() - self._latest_result.at_ms > interval_ms:
                self._latest_result = _ProbeResult(now_ms(), await self._probe())
        return self._latest_result.answer

    async def _probe(self) -> ReadyAnswer:
        config = self._gateway.configuration()
        if isinstance(config, Refusal):
            return ReadyAnswer(False, (config.message,))
        requests = {key: self._request() for key in self._keys}
        answers = {
            key: self._pending_replies.register(request.request_id)
            for key, request in requests.items()
        }
        try:
            probes = [
                self._record(key, request, config.digest) for key, request in requests.items()
            ]
            failure = await self._gateway.publisher.publish(probes)
            if failure is not None:
                return ReadyAnswer(False, (f"Kafka: {failure.detail}",))
            await asyncio.wait(answers.values(), timeout=_WAIT_MS / 1000)
        finally:
            for key, request in requests.items():
                if not answers[key].done():
                    self._pending_replies.forget(request.request_id)
        missing = tuple(
            f"partition {partition}: no answer from the agents in {_WAIT_MS} ms"
            for partition, key in enumerate(self._keys)
            if not answers[key].done()
        )
        return ReadyAnswer(not missing, missing)

    def _request(self) -> DecideRequest:
        return DecideRequest(str(uuid4()), self._gateway.instance, (), now_ms() + _WAIT_MS)

    def _record(self, key: str, request: DecideRequest, config: str) -> OutgoingRecord:
        probe = IdentityChange(
            change_id=request.request_id,
            kind="probe",
            identifier=key,
            at=now_ms(),
            config=config,
            request=request,
        )
        value = self._gateway.codec.encode(topics.PROBES, probe)
        return OutgoingRecord(topics.PROBES, key, value)
