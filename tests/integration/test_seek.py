"""A seek affects all records that agents have not got yet, and stops neither agents nor commits."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from faust.types import TP

from tests.support.chain import committed_offsets, produce
from tests.support.reading import BUFFER, Reading

_RECORDS = 100


def test_records_read_before_a_seek_are_not_given_to_the_agents(
    bootstrap: str, prefix: str, tmp_path: Path, make_topic: Callable[..., str]
) -> None:
    source = make_topic("in")
    produce(bootstrap, source, [(b"k", b"x")] * _RECORDS)

    async def forward() -> list[int]:
        reading = Reading(bootstrap, prefix, tmp_path, source)
        await reading.app.start()
        await reading.wait_until(lambda group: len(group.offsets) == 1)
        seek = asyncio.ensure_future(reading.consumer.seek(TP(source, 0), 50))
        await asyncio.sleep(0)
        reading.go.set()
        await seek
        await reading.wait_until(lambda reading: reading.offsets[-1] == _RECORDS - 1)
        await reading.app.stop()
        return reading.offsets

    offsets = asyncio.run(forward())
    count_before = offsets.index(50)
    assert count_before <= 1 + BUFFER + 1  # in process, in the buffer, and in flight between
    assert offsets == [*range(count_before), *range(50, _RECORDS)]
    assert committed_offsets(bootstrap, f"{prefix}.reading", source, 1) == [_RECORDS]


def test_records_read_again_behind_a_commit_are_committed_again(
    bootstrap: str, prefix: str, tmp_path: Path, make_topic: Callable[..., str]
) -> None:
    source = make_topic("in")
    produce(bootstrap, source, [(b"k", b"x")] * _RECORDS)

    async def read(seek_offset: int | None) -> list[int]:
        reading = Reading(bootstrap, prefix, tmp_path, source)
        reading.go.set()
        await reading.app.start()
        await reading.wait_until(lambda reading: reading.consumer.count_unprocessed(0) == 0)
        if seek_offset is not None:
            await reading.consumer.seek(TP(source, 0), seek_offset)
            await reading.wait_until(lambda reading: reading.consumer.count_unprocessed(0) == 0)
        await reading.app.stop()
        return reading.offsets

    assert asyncio.run(read(None)) == list(range(_RECORDS))
    assert asyncio.run(read(10)) == list(range(10, _RECORDS))
    assert committed_offsets(bootstrap, f"{prefix}.reading", source, 1) == [_RECORDS]


def test_seek_in_a_partition_of_somebody_else_does_nothing(
    bootstrap: str, prefix: str, tmp_path: Path, make_topic: Callable[..., str]
) -> None:
    source = make_topic("in")
    produce(bootstrap, source, [(b"k", b"x")] * _RECORDS)
    foreign_tp = TP(source, 7)

    async def read() -> int | None:
        reading = Reading(bootstrap, prefix, tmp_path, source)
        await reading.app.start()
        reading.go.set()
        await reading.wait_until(lambda reading: reading.offsets != [])
        await reading.consumer.seek(foreign_tp, 3)
        await reading.wait_until(lambda reading: reading.offsets[-1] == _RECORDS - 1)
        position: int | None = await reading.consumer.position(foreign_tp)
        await reading.app.stop()
        assert reading.app.failure is None
        return position

    assert asyncio.run(read()) is None
