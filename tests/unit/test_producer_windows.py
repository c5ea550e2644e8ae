"""Time for which outputs wait for a batch, by the age of their inputs.

A stand-in for librdkafka counts the records.
"""

import time
from pathlib import Path
from typing import Any

import pytest

from agents.app import AppOptions, create_app
from agents.transport.producer import Producer
from agents.transport.transport import Transport

pytestmark = pytest.mark.anyio

_LEAD_S = 60.0
"""Distance into the future of an input that counts as young, however busy the machine is."""
_MAX_WINDOW_S = 0.02


class _StuckClient:
    """Client that reports no delivery, so that its records stay in the queue."""

    def __init__(self) -> None:
        self.topics: list[str] = []

    def __len__(self) -> int:
        return len(self.topics)

    def produce(self, topic: str, value: bytes, key: bytes, **options: Any) -> None:
        self.topics.append(topic)

    def poll(self, timeout_s: float) -> int:
        return 0


class _ClientProducer(Producer):
    def _create_client(self, linger_ms: float) -> Any:
        return _StuckClient()

    @property
    def window_s(self) -> float:
        """Linger time of the next outputs."""
        return self._immediate.batch.window_s

    @property
    def output_count(self) -> int:
        """Number of outputs that were handed to the client."""
        return len(self._immediate.client)


async def _start_producer() -> _ClientProducer:
    app = create_app("stage", AppOptions("", Path(), 1))
    producer = _ClientProducer(Transport([], app))
    await producer.on_start()
    return producer


async def test_outputs_of_young_inputs_leave_at_the_end_of_the_run() -> None:
    producer = await _start_producer()
    producer.send_raw("out", b"k", b"v")
    assert producer.output_count == 0
    producer.end_run(time.time() + _LEAD_S)
    assert producer.output_count == 1


async def test_outputs_of_old_inputs_wait_for_a_tenth_of_that_age_within_bounds() -> None:
    producer = await _start_producer()
    producer.send_raw("out", b"k", b"v")
    shortest_window_s = producer.window_s
    producer.end_run(time.time() - 0.1)
    assert 0.01 <= producer.window_s <= _MAX_WINDOW_S
    producer.end_run(time.time() - 60)
    assert producer.window_s == _MAX_WINDOW_S
    assert producer.output_count == 0
    producer.end_run(time.time() + _LEAD_S)
    assert producer.window_s == shortest_window_s
    assert producer.output_count == 1
