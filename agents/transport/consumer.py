"""Faust's consumer over a poller thread: positions, flow control, rebalances and the pump."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException
from faust.transport.consumer import Consumer as BaseConsumer
from faust.transport.consumer import ensure_TP, ensure_TPset
from faust.types import TP
from faust.types.transports import TPorTopicSet
from faust.types.tuples import ConsumerMessage
from mode import Service
from mode.utils.futures import notify

from agents.transport.backlog import Backlog
from agents.transport.checkpoint import CheckpointedStore, Checkpointer, CommitFigures
from agents.transport.errors import LogRecreatedError, SessionLostError, UnfinishedEventError
from agents.transport.poller import Batch, Poller, PrefetchLimits
from agents.transport.progress import CommitProgress
from agents.transport.records import NotedOffset, Record
from agents.transport.sent_index import SentIndex, load_sent_index
from pipeline.adapters.transient import is_transient

T = TypeVar("T")

_RETRY_S = 0.1
_BROKER_TIMEOUT_S = 60.0
"""Longest time that a worker without an assignment waits for a broker before it ends."""

_DRAIN_STEP_S = 0.005
_LARGE_RECORD_BYTES = 65_536
"""Size (bytes) from which a record is given to the agents only once they have processed everything
before it: their buffers are bounded by the number of events, not by their size."""

_CLOSE_TIMEOUT_S = 5.0


class Consumer(BaseConsumer):
    """Consumer in the event loop; a `Poller` thread owns librdkafka's.

    A partition is read once its position is known and the flow is active. Every change of
    what is read makes a new version of the assignment, and batches of older versions are
    dropped.
    """

    transport: Any
    app: Any
    _poller: Poller | None = None

    def __post_init__(self) -> None:
        self.received_total = 0
        self._own_tps: set[TP] = set()
        self._positions: dict[TP, int] = {}
        self._beginnings: Mapping[TP, int] = {}
        self._generation = self._assignment_generation = 0
        self._version = 0
        self._batches: deque[Batch] = deque()
        self._arrival = asyncio.Event()
        self._last_arrival = 0.0
        self._assignment_task: asyncio.Future[None] | None = None
        self._tps: dict[tuple[str, int], TP] = {}
        self._start_offsets: dict[TP, NotedOffset] = {}
        self._sent_index = SentIndex()
        self._known_stores: dict[str, CheckpointedStore] | None = None

    # -- lifecycle

    async def on_start(self) -> None:
        """Connect; nothing is read before `subscribe`."""
        options = self._options = self.transport.options
        self._progress = CommitProgress(self._acked_index, self._acked)
        self._checkpointer = Checkpointer(
            commit=self._commit_with_notes,
            producer=self.app.producer,
            progress=self._progress,
            stores=self._stores,
            options=options,
        )

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Join the group for these topics."""
        if self._poller is not None:
            self._poller.subscribe(topics)
            return
        options = self._options
        self._poller = Poller(
            options.consumer_settings(),
            topics,
            self,
            self.transport.lease,
            PrefetchLimits(
                options.max_batch_records,
                options.max_prefetched_batches,
                options.max_prefetched_kib * 1024,
            ),
        )
        self._poller.start()

    @property
    def _kafka(self) -> Poller:
        if self._poller is None:
            raise RuntimeError("the consumer has not subscribed yet")
        return self._poller

    async def on_stop(self) -> None:
        """Stop reading; the last commit was made when the streams stopped.

        The group keeps the partitions for this instance until its session ends.
        """
        if self._poller is not None:
            self._poller.close()
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, self._poller.join, _CLOSE_TIMEOUT_S)

    def close(self) -> None:
        """Do nothing: `on_stop` closes the poller."""

    # -- commits

    def committed_offset(self, tp: TP) -> int | None:
        """Return the committed offset of `tp`, if it is known."""
        return self._checkpointer.committed_offsets.get(tp)

    @property
    def commit_figures(self) -> CommitFigures:
        """Number and duration of the commits so far."""
        return self._checkpointer.figures

    async def commit(
        self, topics: TPorTopicSet | None = None, start_new_transaction: bool = True
    ) -> bool:
        """Commit all processed and delivered offsets, of all topics; return whether there were
        any."""
        return await self._checkpointer.checkpoint()

    async def wait_empty(self) -> None:
        """Wait for the events in progress, then commit.

        Raises UnfinishedEventError.
        """
        if self.transport.failure is not None or self.app.crashed:
            return
        await self._wait_until_drained(lambda: bool(self._unacked_messages))
        await self._checkpointer.checkpoint()
        if self._unacked_messages:
            raise UnfinishedEventError(
                f"an event did not end within {self._options.drain_ms} ms: its partition is "
                "revoked while it may still be in progress"
            )

    @Service.task
    async def _commit_handler(self) -> None:
        try:
            await self._checkpointer.run(self._next_acknowledgement, self._seconds_until_idle)
        except Exception as error:
            self.transport.fail(error)

    @Service.task
    async def _commit_livelock_detector(self) -> None:
        """Do nothing: the checkpointer watches its own progress."""

    async def on_task_error(self, exc: BaseException) -> None:
        """End the worker after an agent's failure: nothing more may be committed."""
        self.transport.fail(exc)

    def _next_acknowledgement(self) -> "asyncio.Future[None]":
        # Streams complete this future at an acknowledgement (it is Faust's own hook).
        self._waiting_for_ack = asyncio.get_running_loop().create_future()
        return self._waiting_for_ack

    def _seconds_until_idle(self) -> float:
        """Return the seconds until this consumer is idle if nothing arrives; 0: it is idle."""
        idle_s = self._options.idle_commit_ms / 1000
        remaining_s: float = idle_s - (asyncio.get_running_loop().time() - self._last_arrival)
        if remaining_s > 0:
            return remaining_s
        return idle_s if self._progress.unprocessed_count else 0.0

    def _stores(self) -> Iterable[tuple[str, CheckpointedStore]]:
        if self._known_stores is None:
            self._known_stores = {
                table.changelog_topic_name: table.data
                for table in self.app.tables.values()
                if isinstance(table.data, CheckpointedStore)
            }
        return self._known_stores.items()

    # -- rebalances: the poller waits until these return

    def on_lost(self) -> None:
        """End the worker: another member may own its partitions already."""
        self.transport.fail(
            SessionLostError(
                f"the session of {self._options.instance_id} in group {self._options.group_id} "
                "was lost: the worker or the broker was away for too long"
            )
        )

    def on_client_error(self, error: KafkaError) -> None:
        """Log the error; end the worker if it is fatal."""
        self.transport.on_client_error(error)

    def on_crash(self, error: BaseException) -> None:
        """End the worker: its poller has ended, or a rebalance has failed."""
        self.transport.fail(error)

    async def on_assigned(self, tps: set[TP]) -> None:
        """Restore the tables of these partitions, then read them."""
        if self.app.should_stop:
            return
        if not self.app.rebalancing:
            self.app.on_rebalance_start()
        self._begin_generation(tps)
        self._assignment_task = self.add_future(self.on_partitions_assigned(tps, self._generation))

    async def on_revoked(self, tps: set[TP]) -> None:
        """Commit the processed offsets and give up the partitions."""
        if self.app.should_stop:
            return
        self.app.on_rebalance_start()
        self.stop_flow()
        self.app.flow_control.suspend()
        # Events that no agent has begun are now stale, and a running restoration ends.
        self._generation += 1
        self.app.consumer_generation_id = self._generation
        if self._assignment_task is not None:
            await self._assignment_task
        await self.on_partitions_revoked(tps)
        self._begin_generation(set())

    async def on_partitions_revoked(self, tps: set[TP]) -> None:
        """Commit the processed offsets, then drop the partitions' data."""
        await self.wait_empty()
        await super().on_partitions_revoked(tps)

    def _begin_generation(self, tps: set[TP]) -> None:
        self._generation += 1
        self._assignment_generation = self._generation
        self.app.consumer_generation_id = self._generation
        self._own_tps = tps
        self._positions.clear()
        self._beginnings, self._start_offsets = {}, {}
        self._progress.reset()
        self._committed_offset.clear()
        self._checkpointer.committed_offsets.clear()
        self._version += 1

    def _is_current_generation(self) -> bool:
        """Return whether the current assignment is still in force."""
        return self._generation == self._assignment_generation and not self.app.should_stop

    # -- positions

    def assignment(self) -> set[TP]:
        """Return this member's partitions."""
        return set(self._own_tps)

    async def position(self, tp: TP) -> int | None:
        """Return the next offset that agents will get, if it is known."""
        return self._positions.get(ensure_TP(tp))

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seek to the committed offsets, or to the beginnings where there is none.

        Does nothing once the partitions are revoked or the worker stops.
        """
        if not self._own_tps:
            return {}
        positions = await self._retry_transient_errors("the start offsets", self._find_positions)
        if positions is None:
            return {}
        self._beginnings, self._start_offsets = positions
        offsets = {tp: start.offset for tp, start in self._start_offsets.items()}
        self._positions = dict(offsets)
        self._progress.reset()
        self._checkpointer.committed_offsets.update(offsets)
        self._reassign()
        return offsets

    async def load_sent_index(self) -> None:
        """Give the producer the index of outputs already sent for uncommitted inputs."""
        header = self._options.cause_header
        if header is None:
            return
        settings, outputs = self.transport.changelog_reader_settings(), self._options.outputs
        start_offsets = self._start_offsets
        index = await self._retry_transient_errors(
            "the outputs sent before",
            lambda: asyncio.to_thread(
                load_sent_index,
                settings,
                header,
                outputs,
                start_offsets,
                self._is_current_generation,
            ),
        )
        if index is not None:
            self._set_sent_index(index)

    async def _commit_with_notes(self, offsets: Mapping[TP, int], cut_ms: int) -> KafkaError | None:
        commits = {
            tp: NotedOffset(offset, self._sent_index.commit_note(tp, offset, cut_ms))
            for tp, offset in offsets.items()
        }
        error = await self._kafka.commit(commits, self._options.request_timeout_s)
        if error is None and self._sent_index.is_obsolete(
            {**self._checkpointer.committed_offsets, **offsets}
        ):
            self._set_sent_index(SentIndex())
        return error

    def _set_sent_index(self, index: SentIndex) -> None:
        self._sent_index = index
        self.app.producer.sent_index = index

    async def _find_positions(self) -> tuple[Mapping[TP, int], dict[TP, NotedOffset]]:
        """Return the logs' first offsets, and the start offsets with their commits' notes."""
        beginnings = await self.earliest_offsets(*self._own_tps)
        committed_offsets = await self._kafka.request_committed_offsets(
            self._own_tps, self._options.request_timeout_s
        )
        first_offsets = {tp: NotedOffset(offset) for tp, offset in beginnings.items()}
        return beginnings, first_offsets | committed_offsets

    async def _retry_transient_errors(
        self, subject: str, ask: Callable[[], Awaitable[T]]
    ) -> T | None:
        """Retry `ask` while a broker or coordinator is away; return None once the assignment has
        changed."""
        deadline = self.loop.time() + _BROKER_TIMEOUT_S
        while self._is_current_generation():
            try:
                return await ask()
            except KafkaException as error:
                if not is_transient(error.args[0]) or self.loop.time() > deadline:
                    raise
                self.log.info("waiting for %s: %s", subject, error)
                await asyncio.sleep(_RETRY_S)
        return None

    async def _seek(self, partition: TP, offset: int) -> None:
        await self.seek_wait({partition: offset})

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        """Continue at these offsets once the events in progress are processed.

        Partitions that are no longer assigned are left out. Raises UnfinishedEventError, also when
        an agent calls it, whose own event is in progress.
        """
        await self._seek_to({ensure_TP(tp): max(o or 0, 0) for tp, o in partitions.items()})

    async def seek_to_beginning(self, *partitions: TP) -> None:
        """Continue at the first offsets once the events in progress are processed.

        Raises UnfinishedEventError.
        """
        await self._seek_to(await self.earliest_offsets(*map(ensure_TP, partitions)))

    async def _seek_to(self, positions: Mapping[TP, int]) -> None:
        self._version += 1  # drops what was read but not handed over
        try:
            await self._wait_until_processed()
            for tp in positions.keys() & self._own_tps:
                self._positions[tp] = positions[tp]
                self._committed_offset.pop(tp, None)  # below it Faust takes no acknowledgements
        finally:
            self._reassign()

    async def _wait_until_processed(self) -> None:
        """Wait until agents have processed their events, and record that progress."""
        if not await self._wait_until_drained(lambda: bool(self._progress.unprocessed_count)):
            raise UnfinishedEventError(
                f"an event did not end within {self._options.drain_ms} ms: no seek while it is in "
                "progress"
            )
        self._progress.collect_committable_offsets()

    async def _wait_until_drained(self, is_busy: Callable[[], bool]) -> bool:
        """Wait while `is_busy` returns True; return False after more than `drain_ms`."""
        deadline = self.loop.time() + self._options.drain_ms / 1000
        while is_busy():
            if self.loop.time() > deadline:
                return False
            await asyncio.sleep(_DRAIN_STEP_S)
        return True

    def stop_flow(self) -> None:
        """Stop giving events to agents."""
        super().stop_flow()
        self._version += 1
        while self._batches:
            self._kafka.finish_batch(self._batches.popleft())

    def resume_flow(self) -> None:
        """Give events to agents again."""
        super().resume_flow()
        self._reassign()

    def pause_partitions(self, tps: Iterable[TP]) -> None:
        """Stop reading these partitions."""
        super().pause_partitions(ensure_TPset(tps))
        self._reassign()

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        """Resume reading the partitions, from the agents' positions."""
        super().resume_partitions(ensure_TPset(tps))
        self._reassign()

    def on_buffer_full(self, tp: TP) -> None:
        """Do nothing: the pump applies back-pressure itself."""

    def on_buffer_drop(self, tp: TP) -> None:
        """Do nothing: the pump resumes by itself."""

    def _reassign(self) -> None:
        self._version += 1
        if self._poller is None or not self.flow_active:
            return
        readable = self._active_partitions & self._own_tps & self._positions.keys()
        self._poller.assign(self._version, {tp: self._positions[tp] for tp in readable})

    # -- the pump

    def on_batch(self, batch: Batch) -> None:
        """Give the batch to the pump; drop one of an earlier version of the assignment."""
        if batch.version != self._version:
            self._kafka.finish_batch(batch)
            return
        self._batches.append(batch)
        if batch.records:
            self._last_arrival = self.loop.time()
        self._arrival.set()

    async def _drain_messages(self, fetcher: Any) -> None:
        """Feed the agents until the fetcher is stopped."""
        with contextlib.suppress(asyncio.CancelledError):
            while not fetcher.should_stop:
                await self._arrival.wait()
                while self._batches:
                    batch = self._batches.popleft()
                    await self._deliver(batch)
                    self._kafka.finish_batch(batch)
                self._arrival.clear()

    async def _deliver(self, batch: Batch) -> None:
        callbacks = self.app.topics.callbacks
        acking_topics = self.app.topics.acking_topics
        producer = self.app.producer
        for record in batch.records:
            if len(record) > _LARGE_RECORD_BYTES:
                await self._wait_until_all_processed(batch.version)
            if producer.is_congested:
                await producer.wait_until_uncongested()
            if not self.flow_active:
                await self.can_resume_flow.wait()
            if batch.version != self._version:
                return
            tp, offset = self._topic_partition(record), record.offset()
            if offset < self._positions.get(tp, 0):
                self._on_rewind(tp, offset)
                return
            if tp.topic in acking_topics:
                self._progress.record_delivery(tp, offset)
            self._positions[tp] = offset + 1
            self.received_total += 1
            await callbacks[tp](self._to_message(tp, record))
        if batch.records:
            self._last_arrival = self.loop.time()
        if batch.version == self._version:
            self._skip_control_records(batch.positions)

    def begin(self, message: ConsumerMessage) -> bool:
        """Count a delivered event as in progress until it is acknowledged.

        Return False if it is stale: its partition is being revoked, or was.
        """
        is_current = message.generation_id == self.app.consumer_generation_id
        if not is_current or not self.app.flow_control.is_active():
            return False
        if message.topic in self.app.topics.acking_topics:
            message.tracked = True
            self._unacked_messages.add(message)
        return True

    def _skip_control_records(self, positions: Mapping[TP, int]) -> None:
        """Advance over offsets after the last record: transaction markers, which are not events."""
        for tp, offset in positions.items():
            if offset <= self._positions[tp]:
                continue
            self._positions[tp] = offset
            if tp.topic in self.app.topics.acking_topics:
                self._progress.record_skip(tp, offset)
                notify(self._waiting_for_ack)

    async def _wait_until_all_processed(self, version: int) -> None:
        """Wait until agents have processed everything, or the assignment has changed."""
        while self._progress.unprocessed_count and version == self._version:
            await asyncio.sleep(_DRAIN_STEP_S)

    def _topic_partition(self, record: Record) -> TP:
        topic_partition = record.topic(), record.partition()
        tp = self._tps.get(topic_partition)
        if tp is None:
            tp = self._tps[topic_partition] = TP(*topic_partition)
        return tp

    # Faust declares this method abstract, under this name.
    def _to_message(self, tp: TP, record: Record) -> ConsumerMessage:
        kind, timestamp_ms = record.timestamp()
        key, value = record.key(), record.value()
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            record.offset(),
            timestamp_ms / 1000.0,
            kind,
            record.headers(),
            key,
            value,
            None,
            0 if key is None else len(key),
            0 if value is None else len(value),
            tp,
            generation_id=self._generation,
        )

    def _on_rewind(self, tp: TP, offset: int) -> None:
        """End the worker: rows detect redelivered inputs by offset, and offsets would be reused."""
        self.transport.fail(
            LogRecreatedError(
                f"{tp.topic}, partition {tp.partition}, has offset {offset} after "
                f"{self._positions[tp] - 1}: the topic was re-created or has lost records. The "
                f"state of {self._options.group_id} belongs to the former topic: begin with a new "
                "state folder, changelog and group"
            )
        )

    # -- backlog and watermarks

    @property
    def backlog(self) -> Backlog:
        """Uncommitted and unprocessed records."""
        return Backlog(self._kafka.highwaters, self._beginnings, self._own_tps, self._progress)

    def lag(self) -> dict[TP, int]:
        """Return `Backlog.count_uncommitted` for the assigned partitions."""
        return self.backlog.count_uncommitted(self._checkpointer.committed_offsets)

    def count_unprocessed(self, partition: int) -> int | None:
        """Count the unprocessed records of `partition` in all topics; None if not known yet."""
        return self.backlog.count_unprocessed(partition, self._positions)

    def highwater(self, tp: TP) -> int:
        """Return the high watermark as of the poller's last look; -1 if unknown."""
        return self._kafka.highwaters.get(tp, -1)

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:
        """Ask the broker for the offsets after the last records."""
        return {tp: (await self._watermarks(tp))[1] for tp in partitions}

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        """Ask the broker for the offsets of the first records."""
        return {tp: (await self._watermarks(tp))[0] for tp in partitions}

    async def _watermarks(self, tp: TP) -> tuple[int, int]:
        return await self._kafka.request_watermarks(tp, self._options.request_timeout_s)

    def topic_partitions(self, topic: str) -> int | None:
        """Return the number of partitions of `topic`."""
        partitions: int = self.transport.admin.partition_count(topic)
        return partitions

    def key_partition(
        self, topic: str, key: bytes | None, partition: int | None = None
    ) -> int | None:
        """Return the partition of `key`, unless `partition` is given."""
        if partition is not None or key is None:
            return partition
        target: TP = self.app.producer.key_partition(topic, key)
        return target.partition

    async def create_topic(
        self, topic: str, partitions: int, replication: int, **options: Any
    ) -> None:
        """Create a topic unless it exists."""
        await self.app.producer.create_topic(topic, partitions, replication, **options)

    def _new_topicpartition(self, topic: str, partition: int) -> TP:
        return TP(topic, partition)

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        raise NotImplementedError("commits go through the checkpointer")

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:
        raise NotImplementedError("the pump gets its batches from the poller")
