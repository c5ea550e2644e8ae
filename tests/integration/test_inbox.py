"""The adapters' reader on a real broker."""

import asyncio
from collections.abc import Callable, Sequence

import pytest
from confluent_kafka import Consumer, Message, Producer

from pipeline.adapters.kafka import offset_of, source_partition
from pipeline.delivery.inbox import Inbox
from pipeline.delivery.progress import OffsetProgress

_COUNT = 3000
_IN_FLIGHT_LIMIT = 64
"""Limit of records in flight per topic."""

_PATIENCE_S = 120


@pytest.mark.kafka
def test_waiting_channel_goes_on_after_rebalances(
    bootstrap: str, prefix: str, make_topic: Callable[..., str]
) -> None:
    topic = make_topic("actions", 2)
    producer = Producer({"bootstrap.servers": bootstrap})
    for number in range(_COUNT):
        producer.produce(topic, b"%d" % number, b"%d" % number)
    assert producer.flush(30) == 0
    member_settings = {
        "bootstrap.servers": bootstrap,
        "group.id": prefix,
        "heartbeat.interval.ms": 200,
    }
    assert asyncio.run(_read(member_settings, topic)) == {
        b"%d" % number for number in range(_COUNT)
    }


async def _read(member_settings: dict[str, str | int], topic: str) -> set[bytes]:
    """Read without finishing any action until other members have joined the group and left; then
    finish all actions, and return the values that were read."""
    progress, messages = OffsetProgress(), list[Message]()
    failure: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
    inbox = Inbox(member_settings, progress, lambda: [topic], messages.extend, failure.set_result)
    inbox.start()
    async with asyncio.timeout(_PATIENCE_S):
        while progress.in_flight_counts()[topic] < _IN_FLIGHT_LIMIT:
            await asyncio.sleep(0.05)
        await asyncio.to_thread(_join_and_leave, member_settings, topic)
        while len(_values(messages)) < _COUNT:
            for message in messages:
                progress.mark_done(source_partition(message), offset_of(message))
            await asyncio.sleep(0.05)
    await inbox.close()
    assert not failure.done()
    return _values(messages)


def _join_and_leave(member_settings: dict[str, str | int], topic: str) -> None:
    """Join the group as two members, of which the first is slow to give its partitions back, and
    leave."""
    slow_member, other_member = Consumer(member_settings), Consumer(member_settings)
    slow_member.subscribe([topic], on_revoke=lambda *_: None)
    while not slow_member.assignment():
        slow_member.poll(0.1)
    other_member.subscribe([topic])
    for _ in range(15):
        other_member.poll(0.1)
    slow_member.close()
    other_member.close()


def _values(messages: Sequence[Message]) -> set[bytes]:
    return {value for message in messages if isinstance(value := message.value(), bytes)}
