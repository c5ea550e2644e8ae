"""Replay of a topic to Parquet: each offset once, even if the replay is killed and run again.

Partition after partition is read in chunks. The parts of a chunk, one for each day, are written
under temporary names and renamed; then the manifest records the chunk as done. The next run removes
files of a killed run beyond the manifest.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
from confluent_kafka import Message
from msgspec import Struct

from pipeline.adapters.avro.subjects import CLASSES, schema_name
from pipeline.adapters.kafka import offset_of
from pipeline.adapters.topic_ranges import TopicReader, UnknownTopicError
from pipeline.home.codec import open_codec
from pipeline.model.time import MAX_AHEAD_MS
from pipeline.replay.manifest import (
    AnotherReplayError,
    ReplayFolder,
    Selection,
    replay_folder,
    sync_to_disk,
)
from pipeline.replay.topic_tables import DayTables
from pipeline.settings import Settings

_BATCH: Final = 2_000
"""Records that are decoded at a time."""

_CHUNK_RECORDS: Final = 100_000
_CHUNK_BYTES: Final = 64 << 20
"""Approximate memory that a chunk's tables may take."""


class OffsetsError(Exception):
    """Raised when the topic lacks the requested offsets; the message names those it has."""


class PartitionReport(Struct, frozen=True):
    """Offsets [`first`, `after`) were replayed in this run. `deleted`: offsets before them that the
    topic no longer has, although an earlier run had reached them."""

    partition: int
    first: int
    after: int
    deleted: int = 0


class ReplayReport(Struct, frozen=True):
    """Result of a replay: `records` were written in this run, of which `unreadable` cannot be
    decoded; those whose time is out of range were `left_out`."""

    topic: str
    records: int
    unreadable: int
    left_out: int
    files: int
    partitions: tuple[PartitionReport, ...]


def replay(
    settings: Settings, selection: Selection, out: Path, progress: Callable[[int, int], None]
) -> ReplayReport:
    """Write the selected records that are not in `out` yet. `progress` gets the numbers of offsets
    done and in all.

    Raises UnknownTopicError, OffsetsError, AnotherReplayError, and KafkaException when the broker
    does not answer.
    """
    if schema_name(selection.topic) not in CLASSES:
        raise UnknownTopicError(f"{selection.topic!r} is no topic of Kairos's records")
    with TopicReader(settings.kafka(), selection.topic) as reader:
        limits = reader.limits()
        wanted = _select_offsets(selection, limits, reader)
        with replay_folder(out, selection) as folder:
            plan = [_plan_partition(folder, number, wanted[number]) for number in sorted(wanted)]
            run = _Run(reader, folder, DayTables(selection, open_codec(settings)), progress)
            return run.replay(selection.topic, plan)


def _select_offsets(
    selection: Selection, limits: dict[int, range], reader: TopicReader
) -> dict[int, range]:
    if selection.offsets is not None:
        for partition, (first, last) in selection.offsets.items():
            _check(selection.topic, partition, range(first, last), limits)
        return {number: range(*pair) for number, pair in selection.offsets.items()}
    if selection.since is None:
        return limits
    # A record's time is at most so much later than the broker's, and may be any time earlier.
    firsts = reader.written_since(selection.since - MAX_AHEAD_MS)
    return {
        number: range(firsts.get(number, known.stop), known.stop)
        for number, known in limits.items()
    }


def _check(topic: str, partition: int, asked: range, limits: dict[int, range]) -> None:
    if partition not in limits:
        raise OffsetsError(f"{topic} has no partition {partition}; it has {len(limits)}")
    known = limits[partition]
    if asked.start < known.start or asked.stop > known.stop:
        raise OffsetsError(
            f"partition {partition} of {topic} has the offsets {known.start}-{known.stop}, "
            f"not {asked.start}-{asked.stop}"
        )


def _plan_partition(folder: ReplayFolder, partition: int, wanted: range) -> PartitionReport:
    offset = folder.next(partition)
    if offset is None:
        return PartitionReport(partition, wanted.start, wanted.stop)
    if offset > wanted.stop:
        raise AnotherReplayError(
            f"partition {partition} ends at {wanted.stop}, and {offset} offsets of it were "
            "replayed: the topic was created again; use another --out"
        )
    first = max(offset, wanted.start)
    return PartitionReport(partition, first, wanted.stop, deleted=first - offset)


@dataclass
class _Run:
    reader: TopicReader
    folder: ReplayFolder
    tables: DayTables
    progress: Callable[[int, int], None]
    records: int = 0
    files: int = 0

    def replay(self, topic: str, plan: list[PartitionReport]) -> ReplayReport:
        total = sum(span.after - span.first for span in plan)
        count = 0
        for span in plan:
            for chunk in self._chunks(span):
                self._write(span.partition, chunk)
                count += len(chunk.offsets)
                self.progress(count, total)
        return ReplayReport(
            topic,
            self.records,
            self.tables.unreadable,
            self.tables.left_out,
            self.files,
            tuple(plan),
        )

    def _chunks(self, plan: PartitionReport) -> Iterator["_Chunk"]:
        """Yield chunks whose offsets, taken together, are those of the plan."""
        messages = self.reader.read(plan.partition, range(plan.first, plan.after))
        first = plan.first
        chunk = _Chunk(first)
        for batch in iter(lambda: list(islice(messages, _BATCH)), []):
            chunk.add(batch, self.tables)
            if chunk.is_full():
                yield chunk
                chunk = _Chunk(chunk.after)
        chunk.after = plan.after
        if chunk.offsets:
            yield chunk

    def _write(self, partition: int, chunk: "_Chunk") -> None:
        for day, tables in chunk.days.items():
            temporary, whole = self.folder.part(day, partition, chunk.offsets)
            table = pa.concat_tables(tables)
            pq.write_table(table, temporary, compression="zstd")
            sync_to_disk(temporary)
            temporary.replace(whole)
            self.records += table.num_rows
            self.files += 1
        self.folder.finish(partition, chunk.after)


class _Chunk:
    """Tables by day of the offsets from `first` up to `after`."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.after = first
        self.days: defaultdict[str, list[pa.Table]] = defaultdict(list)
        self._records = 0
        self._bytes = 0

    @property
    def offsets(self) -> range:
        return range(self.first, self.after)

    def add(self, messages: list[Message], tables: DayTables) -> None:
        for day, table in tables.of(messages):
            self.days[day].append(table)
            self._bytes += table.nbytes
        self._records += len(messages)
        self.after = offset_of(messages[-1]) + 1

    def is_full(self) -> bool:
        return self._records >= _CHUNK_RECORDS or self._bytes >= _CHUNK_BYTES
