"""The four stages as processes over logs in memory, any of which can be killed at any point.

A process hands its records to a producer that has one queue per partition. A kill loses any number
of records from the end of each queue, independently of the other queues: the log may have state
without its outputs, outputs without their state, or a part of each. The changelog defines the rows.
An input is committed when all rows and records that it caused are in the log.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, TypeAlias
from zlib import crc32

import msgspec

from agents.decoded_cache import DecodedCache
from agents.idempotence import Row
from agents.metrics import StageMetrics
from agents.ports import Message
from agents.stage import StageShell
from agents.wallets import PURSE, PurseRow
from pipeline.adapters.avro import Codec, MalformedRecord, recorded_versions
from pipeline.flow import STAGES, Stage
from pipeline.model import topics
from pipeline.model.budget import Purse
from pipeline.model.interaction import Interaction
from pipeline.rules import Rules
from tests.support.shells import RecordSink, SentRecord, finish, rulebook_of

Place: TypeAlias = tuple[str, int]
"""A topic and a partition of it."""

_CODEC = Codec(recorded_versions())
_WRITES_OF_AN_INPUT = 8
_NOW_MS = 2_000_000_000_000


@dataclass(frozen=True, slots=True)
class LoggedRecord:
    """Record of a log."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


class _CheckedCache(DecodedCache):
    """Cache that compares its records with the decoded bytes, types included."""

    def decode(self, topic: str, data: bytes) -> msgspec.Struct | MalformedRecord:
        record, expected = super().decode(topic, data), _CODEC.decode(topic, data)
        assert repr(record) == repr(expected)
        return record


_CACHE = _CheckedCache(_CODEC, (topic for stage in STAGES for topic in stage.inputs))


class Logs:
    """Logs of a broker, and the offsets that each group has committed."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self.records: dict[Place, list[LoggedRecord]] = defaultdict(list)
        self.committed_offsets: dict[Place, int] = Counter()

    def partition_of(self, key: bytes | None) -> int:
        return crc32(key or b"") % self.partitions

    def put(self, interaction: Interaction) -> None:
        """Append an interaction as the gateway writes it."""
        key = interaction.identifiers[0].key.encode()
        value = _CODEC.encode(topics.INTERACTIONS, interaction)
        place = (topics.INTERACTIONS, self.partition_of(key))
        self.records[place].append(LoggedRecord(key, value))

    def read(self, topic: str) -> Iterator[tuple[str, Any]]:
        """Return keys and decoded values, in order within each partition."""
        for partition in range(self.partitions):
            for record in self.records[topic, partition]:
                value = None if record.value is None else _CODEC.decode(topic, record.value)
                yield (record.key or b"").decode(), value


class KilledError(Exception):
    """Raised to end a killed process."""


@dataclass(frozen=True, slots=True)
class _QueuedRecord:
    """Record in flight, the place and offset of the input that caused it, and the record's number
    among the writes of its process."""

    record: LoggedRecord
    cause: tuple[Place, int]
    number: int


class StageProcess(RecordSink):
    """Process of a stage until its kill, and the ports of its shell. A write is a row that is put
    or deleted, or a record that is sent. If a stage has several inputs or spends budgets, a record
    is sent once all rows that were written before it are in the changelog."""

    def __init__(self, stage: Stage, logs: Logs, rules: Rules) -> None:
        self.stage = stage
        is_spending = stage.spends and bool(rules.config.budgets)
        self._rows_first = len(stage.inputs) > 1 or is_spending
        self.table = self
        self.partitions: Collection[int] = range(logs.partitions)
        self.write_count = 0
        self.next_offsets = {
            (topic, p): logs.committed_offsets[topic, p]
            for topic in stage.inputs
            for p in range(logs.partitions)
        }
        self._logs = logs
        self._doomed_at: int | None = None
        self._rows: list[dict[bytes, bytes]] = [self._restore(p) for p in self.partitions]
        self._queues: dict[Place, deque[_QueuedRecord]] = defaultdict(deque)
        self._open_counts: dict[Place, Counter[int]] = defaultdict(Counter)
        self._input: tuple[Place, int] = (("", 0), 0)
        rulebook = rulebook_of(rules)
        self._shell = StageShell(stage, self, _CACHE, rulebook, StageMetrics(stage.name))

    def unread_places(self) -> list[Place]:
        """Return the places of the inputs that have unprocessed records."""
        return [
            place
            for place, offset in self.next_offsets.items()
            if offset < len(self._logs.records[place])
        ]

    def in_flight_counts(self) -> dict[Place, int]:
        """Return the number of records in flight to each place, changelogs first."""
        lengths = {place: len(queue) for place, queue in self._queues.items() if queue}
        return dict(sorted(lengths.items(), key=lambda entry: entry[0][0] != self._changelog))

    def doom(self, writes: int) -> None:
        """Kill the process after `writes` more writes."""
        self._doomed_at = self.write_count + writes

    def process(self, place: Place) -> None:
        """Process the next input of `place`."""
        offset = self.next_offsets[place]
        self.next_offsets[place] = offset + 1
        self._input = (place, offset)
        self._open_counts[place][offset] += 1
        record = self._logs.records[place][offset]
        finish(
            self._shell.handle(
                Message(*place, offset, _NOW_MS, record.key, record.value, record.headers)
            )
        )
        self._finish(place, offset)

    def fire_due_timers(self, now_ms: int) -> None:
        """Fire the timers that are due at `now_ms`."""
        if self._shell.may_have_due_timers(now_ms):
            self._shell.fire_due_timers(now_ms)

    def deliver(self, place: Place, count: int = 1) -> None:
        """Append the front of a queue to its log, if it has been sent."""
        for _ in range(count):
            head = self._queues[place][0]
            if self._is_held(place, head):
                return
            self._queues[place].popleft()
            self._logs.records[place].append(head.record)
            self._finish(*head.cause)

    def commit(self) -> None:
        """Commit the inputs before the first whose rows or outputs are not all in the log."""
        for place in self.next_offsets:
            open_offsets = self._open_counts[place]
            self._logs.committed_offsets[place] = min(
                open_offsets, default=self.next_offsets[place]
            )

    def states(self) -> dict[str, Any]:
        """Return the states by key."""
        decoder = msgspec.msgpack.Decoder(Row[self.stage.state])  # type: ignore[name-defined]
        return {
            key[1:].decode(): state
            for rows in self._rows
            for key, value in rows.items()
            if key[:1] == b"r" and (state := decoder.decode(value).state) is not None
        }

    def purses(self, partition: int) -> dict[str, Purse]:
        """Return the amount that the partition may spend, by budget."""
        decoder = msgspec.msgpack.Decoder(PurseRow)
        return {
            key[1:].decode(): decoder.decode(value).purse
            for key, value in self._rows[partition].items()
            if key.startswith(PURSE)
        }

    def get_in(self, partition: int, key: bytes) -> bytes | None:
        return self._rows[partition].get(key)

    def put_in(self, partition: int, key: bytes, value: bytes) -> None:
        self._rows[partition][key] = value
        self._hand_over((self._changelog, partition), LoggedRecord(key, value))

    def delete_in(self, partition: int, key: bytes) -> None:
        self._rows[partition].pop(key, None)
        self._hand_over((self._changelog, partition), LoggedRecord(key, None))

    def scan_in(self, partition: int, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        rows = self._rows[partition]
        return iter(sorted((k, v) for k, v in rows.items() if k.startswith(prefix)))

    def record_output(self, record: SentRecord) -> None:
        place = (record.topic, self._logs.partition_of(record.key))
        self._hand_over(place, LoggedRecord(record.key, record.value, record.headers))

    def backlog(self, partition: int) -> int | None:
        return sum(
            len(self._logs.records[place]) - offset
            for place, offset in self.next_offsets.items()
            if place[1] == partition
        )

    async def flush_and_commit(self) -> None:
        for place, length in self.in_flight_counts().items():
            self.deliver(place, length)
        self.commit()

    def committed_offset(self, topic: str, partition: int) -> int:
        return self._logs.committed_offsets[topic, partition]

    def partition_of(self, topic: str, key: bytes) -> int:
        return self._logs.partition_of(key)

    @property
    def _changelog(self) -> str:
        return f"{self.stage.name}-changelog"

    def _is_held(self, place: Place, head: "_QueuedRecord") -> bool:
        _, partition = head.cause[0]
        rows = self._queues[self._changelog, partition]
        is_output = place[0] != self._changelog
        return self._rows_first and is_output and bool(rows) and rows[0].number < head.number

    def _hand_over(self, place: Place, record: LoggedRecord) -> None:
        if self.write_count == self._doomed_at:
            raise KilledError
        self.write_count += 1
        source, offset = self._input
        self._open_counts[source][offset] += 1
        self._queues[place].append(_QueuedRecord(record, self._input, self.write_count))

    def _finish(self, place: Place, offset: int) -> None:
        self._open_counts[place][offset] -= 1
        if not self._open_counts[place][offset]:
            del self._open_counts[place][offset]

    def _restore(self, partition: int) -> dict[bytes, bytes]:
        rows: dict[bytes, bytes] = {}
        for record in self._logs.records[self._changelog, partition]:
            assert record.key is not None
            if record.value is None:
                rows.pop(record.key, None)
            else:
                rows[record.key] = record.value
        return rows


class KilledStages:
    """Stages whose processes are killed and started again, until everything is processed."""

    def __init__(self, rules: Rules, logs: Logs, random: Random) -> None:
        self.kill_count = 0
        self._rules = rules
        self._logs = logs
        self._random = random
        self._processes = [self._start(stage) for stage in STAGES]

    def run(self, kill_percent: int) -> None:
        """Run in any order that Kafka allows, with a kill at `kill_percent` of a hundred steps."""
        while busy := self._busy_processes():
            process = self._random.choice(busy)
            if self._random.randrange(100) < kill_percent:
                process.doom(self._random.randrange(_WRITES_OF_AN_INPUT))
            if self._random.randrange(10) == 0:
                process.commit()
            try:
                self._take_step(process)
            except KilledError:
                self._restart_after_random_deliveries(process)

    def run_with_one_kill(
        self, stage: int, write: int, is_written: Callable[[Place], bool]
    ) -> None:
        """Run one process at a time; kill that of `stage` before its `write`-th write. `is_written`
        returns whether the records in flight to a place reach the log."""
        self._processes[stage].doom(write)
        while busy := self._busy_processes():
            try:
                self._drain(busy[0])
            except KilledError:
                self._restart(busy[0], lambda place, length: length * is_written(place))

    def fire_due_timers(self, now_ms: int) -> None:
        """Fire the due timers of every process; a doomed one may be killed meanwhile."""
        for process in list(self._processes):
            try:
                process.fire_due_timers(now_ms)
            except KilledError:
                self._restart_after_random_deliveries(process)

    def states(self) -> dict[str, dict[str, Any]]:
        """Return the states by stage and key."""
        return {process.stage.name: process.states() for process in self._processes}

    def write_counts(self) -> list[int]:
        """Return the number of writes of each stage's process since its start."""
        return [process.write_count for process in self._processes]

    def _busy_processes(self) -> list[StageProcess]:
        return [
            process
            for process in self._processes
            if process.unread_places() or process.in_flight_counts()
        ]

    def _take_step(self, process: StageProcess) -> None:
        inputs, in_flight = process.unread_places(), process.in_flight_counts()
        if inputs and (not in_flight or self._random.random() < 0.4):
            process.process(self._random.choice(inputs))
        else:
            process.deliver(self._random.choice(list(in_flight)))

    def _drain(self, process: StageProcess) -> None:
        for place in process.unread_places():
            process.process(place)
        for place, length in process.in_flight_counts().items():
            process.deliver(place, length)
        process.commit()

    def _restart_after_random_deliveries(self, process: StageProcess) -> None:
        self._restart(process, lambda _, length: self._random.randint(0, length))

    def _restart(self, process: StageProcess, choose_count: Callable[[Place, int], int]) -> None:
        for place, length in process.in_flight_counts().items():
            process.deliver(place, choose_count(place, length))
        self.kill_count += 1
        self._processes[STAGES.index(process.stage)] = self._start(process.stage)

    def _start(self, stage: Stage) -> StageProcess:
        return StageProcess(stage, self._logs, self._rules)
