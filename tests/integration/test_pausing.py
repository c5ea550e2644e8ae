"""One partition can be paused alone, and the broker's watermarks of partitions can be asked for."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from faust.types import TP

from pipeline.adapters.kafka import key_per_partition
from tests.support.chain import committed_offsets, ends, produce
from tests.support.reading import BUFFER, Reading

_PAUSED_PARTITION, _OTHER_PARTITION = 0, 1
_KEYS = [key.encode() for key in key_per_partition("key", 2)]
_COUNT, _EXTRA_COUNT = 100, 50
_REST_S = 0.5

_ReadingFactory = Callable[..., Reading]


@pytest.fixture
def source(bootstrap: str, make_topic: Callable[..., str]) -> str:
    topic = make_topic("in", partitions=2)
    _write(bootstrap, topic, _COUNT)
    return topic


@pytest.fixture
def make_reading(bootstrap: str, prefix: str, tmp_path: Path, source: str) -> _ReadingFactory:
    """Function that makes a `Reading`, which belongs to an event loop."""
    return lambda **options: Reading(bootstrap, prefix, tmp_path, source, partitions=2, **options)


def test_paused_partition_gives_no_record_until_resumed(
    bootstrap: str, prefix: str, source: str, make_reading: _ReadingFactory
) -> None:
    async def read() -> Reading:
        reading = make_reading()
        reading.go.set()
        await reading.app.start()
        await reading.wait_until(lambda reading: len(reading.positions) == 2 * _COUNT)
        reading.consumer.pause_partitions([TP(source, _PAUSED_PARTITION)])
        _write(bootstrap, source, _EXTRA_COUNT)
        await reading.wait_until(
            lambda reading: reading.consumer.count_unprocessed(_PAUSED_PARTITION) == _EXTRA_COUNT
        )
        await reading.wait_until(
            lambda reading: len(reading.offsets_of(_OTHER_PARTITION)) == _COUNT + _EXTRA_COUNT
        )
        await asyncio.sleep(_REST_S)
        assert reading.offsets_of(_PAUSED_PARTITION) == list(range(_COUNT))
        reading.consumer.resume_partitions([TP(source, _PAUSED_PARTITION)])
        await reading.wait_until(
            lambda reading: len(reading.positions) >= 2 * (_COUNT + _EXTRA_COUNT)
        )
        await asyncio.sleep(_REST_S)
        await reading.app.stop()
        return reading

    reading = asyncio.run(read())
    for partition in (_PAUSED_PARTITION, _OTHER_PARTITION):
        assert reading.offsets_of(partition) == list(range(_COUNT + _EXTRA_COUNT))
    assert (
        committed_offsets(bootstrap, f"{prefix}.reading", source, 2) == [_COUNT + _EXTRA_COUNT] * 2
    )


@pytest.mark.parametrize(
    "options",
    [{}, {"max_batch_records": 3, "max_prefetched_batches": 2}],
    ids=["ahead", "polling waits"],
)
def test_pause_amid_reading_lets_only_records_in_flight_through(
    bootstrap: str, prefix: str, source: str, make_reading: _ReadingFactory, options: dict[str, int]
) -> None:
    async def read() -> tuple[Reading, int]:
        reading = make_reading(**options)
        await reading.app.start()
        await reading.wait_until(lambda reading: len(reading.positions) == 1)
        await asyncio.sleep(_REST_S)  # until nothing more can be prefetched
        reading.consumer.pause_partitions([TP(source, _PAUSED_PARTITION)])
        reading.go.set()
        await reading.wait_until(
            lambda reading: len(reading.offsets_of(_OTHER_PARTITION)) == _COUNT
        )
        await asyncio.sleep(_REST_S)
        count_before = len(reading.offsets_of(_PAUSED_PARTITION))
        reading.consumer.resume_partitions([TP(source, _PAUSED_PARTITION)])
        await reading.wait_until(lambda reading: len(reading.positions) >= 2 * _COUNT)
        await asyncio.sleep(_REST_S)
        await reading.app.stop()
        return reading, count_before

    reading, count_before = asyncio.run(read())
    assert count_before <= 1 + BUFFER + 1  # in process, in the buffer, and in flight between
    for partition in (_PAUSED_PARTITION, _OTHER_PARTITION):
        assert reading.offsets_of(partition) == list(range(_COUNT))
    assert committed_offsets(bootstrap, f"{prefix}.reading", source, 2) == [_COUNT] * 2


def test_watermarks_equal_the_brokers(
    bootstrap: str, source: str, make_reading: _ReadingFactory, make_topic: Callable[..., str]
) -> None:
    first_tp, second_tp, unread_tp = TP(source, 0), TP(source, 1), TP(make_topic("unread"), 0)
    produce(bootstrap, unread_tp.topic, [(b"k", b"x")] * _EXTRA_COUNT)
    # A reference, since the client must outlive its future.
    admin = AdminClient({"bootstrap.servers": bootstrap})
    [deletion] = admin.delete_records([TopicPartition(*second_tp, 30)]).values()
    deletion.result()

    async def look() -> None:
        reading = make_reading()
        reading.go.set()
        await reading.app.start()
        await reading.wait_until(lambda reading: reading.offsets_of(1)[-1:] == [_COUNT - 1])
        assert await reading.consumer.earliest_offsets(first_tp, second_tp) == {
            first_tp: 0,
            second_tp: 30,
        }
        assert await reading.consumer.highwaters(first_tp, second_tp) == {
            first_tp: _COUNT,
            second_tp: _COUNT,
        }
        produce(bootstrap, source, [(_KEYS[0], b"x")] * _EXTRA_COUNT)
        end_offsets = dict(zip((first_tp, second_tp), ends(bootstrap, source, 2), strict=True))
        assert end_offsets == {first_tp: _COUNT + _EXTRA_COUNT, second_tp: _COUNT}
        assert await reading.consumer.highwaters(first_tp, unread_tp) == {
            first_tp: end_offsets[first_tp],
            unread_tp: _EXTRA_COUNT,
        }
        await reading.wait_until(
            lambda reading: (
                {tp: reading.consumer.highwater(tp) for tp in end_offsets} == end_offsets
            )
        )
        assert reading.consumer.highwater(unread_tp) == -1
        await reading.app.stop()

    asyncio.run(look())


def _write(bootstrap: str, topic: str, count: int) -> None:
    """Write `count` records to each partition."""
    produce(bootstrap, topic, [(key, b"x") for key in _KEYS] * count)
