"""Replay of a topic to Parquet: each offset once, even if the replay is killed and run again.

Partitions are read one after the other, in chunks. The parts of a chunk, one for each day, are
written under temporary names and renamed; then the manifest records the chunk's end. The next run
removes the files of a killed run beyond the manifest.
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
    open_replay_folder,
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
    """Raised when the topic lacks the requested offsets; the message names the offsets that it
    has."""


class PartitionReport(Struct, frozen=True):
    """Offsets [`first`, `after`) of a partition, which this run replayed. `deleted`: number of
    offsets between the end of the earlier run and `first`, which the topic no longer has."""

    partition: int
    first: int
    after: int
    deleted: int = 0


class ReplayReport(Struct, frozen=True):
    """Result of a replay. `records`: number of records written in this run, of which `unreadable`
    cannot be decoded; `left_out`: number of records whose time is out of range."""

    topic: str
    records: int
    unreadable: int
    left_out: int
    files: int
    partitions: tuple[PartitionReport, ...]


def replay(
    settings: Settings, selection: Selection, out: Path, progress: Callable[[int, int], None]
) -> ReplayReport:
    """Write the selected records that are not in `out` yet. `progress` gets the number of offsets
    replayed and their total.

    Raises UnknownTopicError, OffsetsError, AnotherReplayError, and KafkaException when the broker
    does not answer.
    """
    if schema_name(selection.topic) not in CLASSES:
        raise UnknownTopicError(f"{selection.topic!r} is not a topic of Kairos's records")
    with TopicReader(settings.kafka(), selection.topic) as reader:
        limits = reader.limits()
        ranges = _select_offsets(selection, limits, reader)
        with open_replay_folder(out, selection) as folder:
            plan = [_plan_partition(folder, number, ranges[number]) for number in sorted(ranges)]
            run = _Run(reader, folder, DayTables(selection, open_codec(settings)), progress)
            return run.replay(selection.topic, plan)


def _select_offsets(
    selection: Selection, limits: dict[int, range], reader: TopicReader
) -> dict[int, range]:
    if selection.offsets is not None:
        for partition, (first, last) in selection.offsets.items():
            _require_offsets(selection.topic, partition, range(first, last), limits)
        return {number: range(*pair) for number, pair in selection.offsets.items()}
    if selection.since is None:
        return limits
    # A record's own time is at most MAX_AHEAD_MS after its time of writing, and may be long before.
    first_offsets = reader.offsets_since(selection.since - MAX_AHEAD_MS)
    return {
        number: range(first_offsets.get(number, limit.stop), limit.stop)
        for number, limit in limits.items()
    }


def _require_offsets(topic: str, partition: int, offsets: range, limits: dict[int, range]) -> None:
    if partition not in limits:
        raise OffsetsError(f"{topic} has no partition {partition}; it has {len(limits)}")
    limit = limits[partition]
    if offsets.start < limit.start or offsets.stop > limit.stop:
        raise OffsetsError(
            f"partition {partition} of {topic} has the offsets {limit.start}-{limit.stop}, "
            f"not {offsets.start}-{offsets.stop}"
        )


def _plan_partition(folder: ReplayFolder, partition: int, offsets: range) -> PartitionReport:
    offset = folder.next_offset(partition)
    if offset is None:
        return PartitionReport(partition, offsets.start, offsets.stop)
    if offset > offsets.stop:
        raise AnotherReplayError(
            f"partition {partition} ends at {offsets.stop}, and {offset} offsets of it were "
            "replayed: the topic was created again; use another --out"
        )
    first_offset = max(offset, offsets.start)
    return PartitionReport(partition, first_offset, offsets.stop, deleted=first_offset - offset)


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
            self.tables.unreadable_records,
            self.tables.left_out_records,
            self.files,
            tuple(plan),
        )

    def _chunks(self, span: PartitionReport) -> Iterator["_Chunk"]:
        """Yield chunks whose offsets, taken together, are those of a span."""
        messages = self.reader.read(span.partition, range(span.first, span.after))
        chunk = _Chunk(span.first)
        for batch in iter(lambda: list(islice(messages, _BATCH)), []):
            chunk.add(batch, self.tables)
            if chunk.is_full():
                yield chunk
                chunk = _Chunk(chunk.end)
        chunk.end = span.after
        if chunk.offsets:
            yield chunk

    def _write(self, partition: int, chunk: "_Chunk") -> None:
        for day, tables in chunk.days.items():
            temporary_path, final_path = self.folder.part_paths(day, partition, chunk.offsets)
            table = pa.concat_tables(tables)
            pq.write_table(table, temporary_path, compression="zstd")
            sync_to_disk(temporary_path)
            temporary_path.replace(final_path)
            self.records += table.num_rows
            self.files += 1
        self.folder.finish(partition, chunk.end)


class _Chunk:
    """Tables by day of the offsets from `start` up to `end`."""

    def __init__(self, start: int) -> None:
        self.start = start
        self.end = start
        self.days: defaultdict[str, list[pa.Table]] = defaultdict(list)
        self._records = 0
        self._bytes = 0

    @property
    def offsets(self) -> range:
        return range(self.start, self.end)

    def add(self, messages: list[Message], tables: DayTables) -> None:
        for day, table in tables.split(messages):
            self.days[day].append(table)
            self._bytes += table.nbytes
        self._records += len(messages)
        self.end = offset_of(messages[-1]) + 1

    def is_full(self) -> bool:
        return self._records >= _CHUNK_RECORDS or self._bytes >= _CHUNK_BYTES
