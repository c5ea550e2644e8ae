"""The commit protocol under deliveries in any order: producer, gates, epochs, progress,
checkpoints.

In place of librdkafka there is one queue per partition; records of different queues reach the log
in any order.
"""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka import KafkaError
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from agents.app import AppOptions, create_app
from agents.transport.checkpoint import CheckpointedStore, Checkpointer
from agents.transport.producer import Producer
from agents.transport.progress import CommitProgress
from agents.transport.transport import Transport

_PARTITIONS = 2
_INPUTS = [TP("in", partition) for partition in range(_PARTITIONS)]
_CHANGELOG = "rows"
_TURNS = 5
"""Turns of the event loop after a step, in which tasks that wait for deliveries go on."""

_Steps = list[tuple[str, int]]
_STEPS: st.SearchStrategy[_Steps] = st.lists(
    st.tuples(
        st.sampled_from(
            ["process", "acknowledge", "end_run", "deliver", "commit", "toggle_rebalance"]
        ),
        st.integers(0, 5),
    ),
    min_size=20,
    max_size=80,
)


class _LogRecord(NamedTuple):
    """Record in the log, and the report of its delivery; its payload names its input."""

    tp: TP
    position: int
    payload: bytes

    def topic(self) -> str:
        return self.tp.topic

    def partition(self) -> int:
        return self.tp.partition

    def offset(self) -> int:
        return self.position


class _QueuedBroker:
    """Broker with a librdkafka in front."""

    def __init__(self) -> None:
        self.log: list[_LogRecord] = []
        self._queues: dict[TP, deque[tuple[bytes, Callable[..., None]]]] = defaultdict(deque)
        self._ends: dict[TP, int] = defaultdict(int)

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def produce(self, topic: str, value: bytes, key: bytes, **options: Any) -> None:
        tp = TP(topic, options.get("partition", 0))
        self._queues[tp].append((value, options["on_delivery"]))

    def poll(self, timeout_s: float) -> int:
        return 0

    def deliver(self, choice: int) -> bool:
        """Deliver the front of one of the queues."""
        tps = sorted(tp for tp, queue in self._queues.items() if queue)
        if not tps:
            return False
        tp = tps[choice % len(tps)]
        value, report = self._queues[tp].popleft()
        record = _LogRecord(tp, self._ends[tp], value)
        self._ends[tp] += 1
        self.log.append(record)
        report(None, record)
        return True


class _KafkaProducer(Producer):
    """Producer whose client is the broker above."""

    kafka: _QueuedBroker

    def _create_client(self, linger_ms: float) -> Any:
        return self.kafka


class _Store:
    """Store that notes the changelog offsets up to which its rows would be on disk."""

    def __init__(self, kafka: _QueuedBroker) -> None:
        self.on_disk: dict[int, int] = {}
        self._kafka = kafka

    def cut(self) -> None:
        return

    def persist(self, next_offsets: Mapping[int, int]) -> None:
        for partition, end in next_offsets.items():
            records = [
                record for record in self._kafka.log if record.tp == TP(_CHANGELOG, partition)
            ]
            assert end <= len(records)
            assert end >= self.on_disk.get(partition, 0)
            self.on_disk[partition] = end


class _CommittingWorker:
    """Producer and checkpointer of one app; every input writes a row and two outputs."""

    def __init__(self, rows_first: bool) -> None:
        options = AppOptions("", Path(), _PARTITIONS, rows_first=rows_first)
        app = create_app("stage", options)
        self.kafka = _QueuedBroker()
        self.commits: dict[TP, int] = {}
        self._is_rebalancing = False
        self._rows_first = rows_first
        self._next_offsets: dict[TP, int] = dict.fromkeys(_INPUTS, 0)
        self._pending_offsets: dict[TP, list[int]] = {tp: [] for tp in _INPUTS}
        self._acks: dict[TP, set[int]] = defaultdict(set)
        self._progress = CommitProgress(self._acks, defaultdict(list))
        self._producer = _KafkaProducer(Transport([], app))
        self._producer.kafka = self.kafka
        self._store = _Store(self.kafka)
        self._checkpointer = Checkpointer(
            commit=self._commit,
            producer=self._producer,
            progress=self._progress,
            stores=self._stores,
            options=app.transport_options,
        )
        self._checkpoint: asyncio.Task[bool] | None = None

    async def run(self, steps: _Steps) -> None:
        await self._producer.on_start()
        for name, choice in steps:
            getattr(self, name)(choice)
            await self._yield_to_tasks()
            self._check_order()
        self._is_rebalancing = False
        for tp in _INPUTS:
            while self._pending_offsets[tp]:
                self.acknowledge(tp.partition)
        await self._finish_checkpoint()
        self.commit(0)
        await self._finish_checkpoint()
        assert self.commits == {tp: end for tp, end in self._next_offsets.items() if end}
        assert len(self.kafka.log) == 3 * sum(self._next_offsets.values())

    def process(self, choice: int) -> None:
        tp = _INPUTS[choice % _PARTITIONS]
        offset = self._next_offsets[tp]
        self._next_offsets[tp] += 1
        self._progress.record_delivery(tp, offset)
        cause = b"%d %d" % (tp.partition, offset)
        self._producer.send_changelog(_CHANGELOG, b"k", cause, tp.partition)
        row_partition = tp.partition if self._rows_first else None
        for output in ("out", "actions"):
            self._producer.send_raw(
                output, b"k", cause, choice % 3, barrier_partition=row_partition
            )
        self._pending_offsets[tp].append(offset)

    def acknowledge(self, choice: int) -> None:
        """Acknowledge one of the inputs that were processed."""
        tp = _INPUTS[choice % _PARTITIONS]
        if offsets := self._pending_offsets[tp]:
            self._acks[tp].add(offsets.pop(choice % len(offsets)))

    def end_run(self, choice: int) -> None:
        self._producer.end_run(time.time())

    def deliver(self, choice: int) -> None:
        for number in range(choice + 1):
            self.kafka.deliver(choice + number)

    def commit(self, choice: int) -> None:
        if self._checkpoint is None or self._checkpoint.done():
            self._checkpoint = asyncio.ensure_future(self._checkpointer.checkpoint())

    def toggle_rebalance(self, choice: int) -> None:
        """Begin or end a rebalance of the group."""
        self._is_rebalancing = not self._is_rebalancing

    async def _commit(self, offsets: Mapping[TP, int], cut_ms: int) -> KafkaError | None:
        """Check the law at a commit: all that inputs before these offsets caused is in the log."""
        if self._is_rebalancing:
            return KafkaError(KafkaError.REBALANCE_IN_PROGRESS)
        counts: dict[bytes, int] = defaultdict(int)
        for record in self.kafka.log:
            counts[record.payload] += 1
        for tp, end in offsets.items():
            assert self.commits.get(tp, 0) < end <= self._next_offsets[tp]
            assert end <= min(self._pending_offsets[tp], default=end)
            assert all(counts[b"%d %d" % (tp.partition, offset)] == 3 for offset in range(end))
            self.commits[tp] = end
        return None

    def _stores(self) -> Iterator[tuple[str, CheckpointedStore]]:
        yield _CHANGELOG, self._store

    def _check_order(self) -> None:
        if not self._rows_first:
            return
        rows: Collection[bytes] = {
            record.payload for record in self.kafka.log if record.tp.topic == _CHANGELOG
        }
        assert rows >= {
            record.payload for record in self.kafka.log if record.tp.topic != _CHANGELOG
        }

    async def _finish_checkpoint(self) -> None:
        while self.kafka or not (self._checkpoint is None or self._checkpoint.done()):
            self.end_run(0)
            self.kafka.deliver(0)
            await self._yield_to_tasks()

    async def _yield_to_tasks(self) -> None:
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        if self._checkpoint is not None and self._checkpoint.done():
            self._checkpoint.result()


@given(_STEPS, st.booleans())
def test_commit_never_passes_an_input_that_caused_something_undelivered(
    steps: _Steps, rows_first: bool
) -> None:
    asyncio.run(_CommittingWorker(rows_first).run(steps))
