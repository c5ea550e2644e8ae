"""Moment and order in which records leave for the broker."""

import asyncio

import pytest

from agents.transport.micro_batch import MicroBatch

pytestmark = pytest.mark.anyio

_WINDOW_S = 0.02


class _RecordingClient:
    """Client that records the numbers of the records that leave, with their times."""

    def __init__(self, window_s: float = _WINDOW_S) -> None:
        self.errors: list[Exception] = []
        self.deliveries: list[tuple[int, float]] = []
        self.batch = MicroBatch(window_s, self.errors.append)

    def send(self, number: int) -> None:
        clock = asyncio.get_running_loop().time
        self.batch.add(lambda: self.deliveries.append((number, clock())))

    @property
    def numbers(self) -> list[int]:
        return [number for number, _ in self.deliveries]


async def test_added_records_leave_together_in_order() -> None:
    client = _RecordingClient()
    for number in (1, 2, 3):
        client.send(number)
    assert not client.deliveries
    assert len(client.batch) == 3
    client.batch.flush()
    assert client.numbers == [1, 2, 3]
    assert not len(client.batch)


async def test_records_leave_within_the_window_without_a_flush() -> None:
    client = _RecordingClient()
    client.send(1)
    await asyncio.sleep(3 * _WINDOW_S)
    assert client.numbers == [1]
    client.send(2)
    await asyncio.sleep(3 * _WINDOW_S)
    assert client.numbers == [1, 2]


async def test_hastened_records_leave_before_their_window_is_over() -> None:
    client = _RecordingClient(window_s=60)
    client.send(1)
    client.batch.hasten(_WINDOW_S)
    client.batch.hasten(60)
    await asyncio.sleep(3 * _WINDOW_S)
    assert client.numbers == [1]


async def test_failure_is_reported_and_dropped_records_do_not_leave() -> None:
    client = _RecordingClient()
    client.batch.add(lambda: 1 / 0)
    client.batch.flush()
    assert [type(error) for error in client.errors] == [ZeroDivisionError]
    client.send(1)
    client.batch.drop()
    await asyncio.sleep(3 * _WINDOW_S)
    assert not client.deliveries
