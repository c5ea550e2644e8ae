"""Live traffic by the wall clock for a short time, to measure latency."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx

from pipeline.home.records import Records
from pipeline.model import topics
from pipeline.model.decision import Action, Decision
from pipeline.model.interaction import Interaction

RATE = 100
"""Requests per second."""

_PLACEMENT = "home-hero"
_MAX_CONNECTIONS = 32


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Percentiles in milliseconds of `count` measurements."""

    count: int
    p50: float
    p99: float
    max: float

    @classmethod
    def of(cls, values: list[float]) -> "Percentiles | None":
        """Return the percentiles; None without values."""
        if not values:
            return None
        sorted_values = sorted(values)
        last_index = len(sorted_values) - 1
        return cls(
            len(sorted_values),
            sorted_values[last_index // 2],
            sorted_values[round(last_index * 0.99)],
            sorted_values[last_index],
        )


@dataclass(frozen=True, slots=True)
class Latency:
    """Measured latencies.

    `to_action` and `to_decision`: from the append of the interaction to that of the action or
    decision, by the broker's clock. `decide`, `track`: from the time a request was due to its
    answer. `defaulted`: number of answers that missed their budget, and of refusals for overload;
    `failed`: number of requests without an answer, or with another error.
    """

    to_action: Percentiles | None
    to_decision: Percentiles | None
    decide: Percentiles | None
    track: Percentiles | None
    defaulted: int
    failed: int


class Traffic:
    """Visitors who come at a fixed rate, without waiting for answers to earlier ones."""

    def __init__(self, url: str, write_key: str) -> None:
        # More connections would cost more than they gain, because requests wait while one opens.
        limits = httpx.Limits(
            max_connections=_MAX_CONNECTIONS, max_keepalive_connections=_MAX_CONNECTIONS
        )
        self._client = httpx.AsyncClient(
            base_url=url, auth=(write_key, ""), timeout=30.0, limits=limits, trust_env=False
        )
        self._decide_ms: list[float] = []
        self._track_ms: list[float] = []
        self._default_count = 0
        self._failure_count = 0

    async def run(self, seconds: int) -> None:
        """Send requests for `seconds`, half to `/v1/decide` and half to `/v1/track`."""
        async with self._client, asyncio.TaskGroup() as visitors:
            started_s = time.monotonic()
            for number in range(RATE * seconds):
                due_s = started_s + number / RATE
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
                visitors.create_task(self._visit(number, due_s))

    def measure(self, records: Records, since_ms: int, channels: tuple[str, ...]) -> Latency:
        """Return the latencies; the pipeline must be idle. `since_ms`: when `run` began (epoch
        ms)."""
        received_at = {
            interaction.event_id: record.timestamp
            for record, interaction in records.read_all(
                topics.INTERACTIONS, Interaction, lambda record: record.timestamp >= since_ms
            )
            if interaction.source == "live"
        }
        action_delays: list[float] = []
        for channel in channels:
            action_delays += _delays(
                records, topics.actions(channel), Action, received_at, since_ms
            )
        decision_delays = _delays(records, topics.DECISIONS, Decision, received_at, since_ms)
        return Latency(
            to_action=Percentiles.of(action_delays),
            to_decision=Percentiles.of(decision_delays),
            decide=Percentiles.of(self._decide_ms),
            track=Percentiles.of(self._track_ms),
            defaulted=self._default_count,
            failed=self._failure_count,
        )

    async def _visit(self, number: int, due_s: float) -> None:
        """Make one visit; count a failure without ending the other visits."""
        visit = self._request_decision if number % 2 else self._track_view
        try:
            await visit(number, due_s)
        except httpx.HTTPError:
            self._failure_count += 1

    async def _request_decision(self, number: int, due_s: float) -> None:
        message = {"type": "page", "name": "home", **_visitor(number)}
        body = {"interaction": message, "placements": [_PLACEMENT]}
        response = await self._client.post("/v1/decide", json=body)
        self._decide_ms.append((time.monotonic() - due_s) * 1000)
        if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            self._default_count += 1  # the page shows its default without waiting
            return
        self._default_count += response.raise_for_status().json()["defaulted"]

    async def _track_view(self, number: int, due_s: float) -> None:
        body = {"event": "product_view", **_visitor(number)}
        response = await self._client.post("/v1/track", json=body)
        response.raise_for_status()
        self._track_ms.append((time.monotonic() - due_s) * 1000)


def _visitor(number: int) -> dict[str, Any]:
    return {
        "messageId": str(uuid4()),
        "anonymousId": f"live-{number % 97}",
        "properties": {"platform": "desktop"},
    }


def _delays(
    records: Records,
    topic: str,
    kind: type[Action] | type[Decision],
    received_at: dict[str, int],
    since_ms: int,
) -> list[float]:
    return [
        float(record.timestamp - received_at[value.event_id])
        for record, value in records.read_all(
            topic, kind, lambda record: record.timestamp >= since_ms
        )
        if value.event_id in received_at
    ]
