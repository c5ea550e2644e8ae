"""Faust's producer over two librdkafka producers: an immediate and a lingering one.

Outputs go through the immediate one as soon as the run that caused them ends, or
in micro-batches while the worker is behind. Changelog records, and records of `lingering_topics`,
linger some milliseconds, which saves requests and does not delay outputs. The order
between the two does not matter, since a commit waits for both; only a stage whose outputs must
follow their rows holds them back until those are acknowledged.
"""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import confluent_kafka
from confluent_kafka import KafkaError
from faust.transport.producer import Producer as BaseProducer
from faust.transport.producer import ProducerBuffer
from faust.types import TP, FutureMessage, RecordMetadata
from faust.types.core import HeadersArg
from mode import Service
from mode.utils.times import Seconds, want_seconds
from msgspec import Struct

from agents.transport.background import background
from agents.transport.changelog_barrier import ChangelogBarrier
from agents.transport.epochs import Epoch
from agents.transport.errors import DeliveryError, SessionLostError
from agents.transport.fencing import ChangelogFence, fencing_headers
from agents.transport.lease import Lease
from agents.transport.micro_batch import MicroBatch
from agents.transport.records import Headers, Record
from agents.transport.sent_index import SentIndex
from pipeline.adapters.murmur2 import murmur2_partition
from pipeline.home.topics import MAX_RECORD_SETTING
from pipeline.model import sizes

_Report = Callable[[KafkaError | None, Record], None]

_SERVE_INTERVAL_S = 0.02
"""Interval of serving delivery reports while no caller waits for them."""

_SERVE_WHEN_AWAITED_S = 0.001
_SERVE_WHEN_IDLE_S = 1.0
"""Interval of serving an idle client's errors."""

_FULL_POLL_S = 0.01
_MIN_BATCH_WINDOW_S = 0.003
"""Shortest linger time of outputs, and of rows that they wait for, while the worker is behind."""

_LINGERING_BATCH_WINDOW_S = 0.02
"""Linger time of other records, and the longest one of outputs. A batch is a request per topic and
partition, and librdkafka's threads spin while more requests wait than may be in flight."""

_WINDOW_SHARE = 0.1
"""Share of its input's age for which an output may linger: batching adds no more to its delay."""

_BEHIND_AGE_S = 0.01
"""Age of a processed input above which the worker counts as behind."""

_REDELIVERY_NOTE = "its input is processed again after a restart"
_ADVICE_BY_ERROR = {
    KafkaError.MSG_SIZE_TOO_LARGE: "`kairos doctor` names topics whose limit is too low"
}


class _ProduceRequest(Struct, frozen=True):
    """Record to produce; `options` are those of confluent-kafka's `Producer.produce`."""

    topic: str
    key: bytes | None
    value: bytes | None
    options: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Lane:
    """Client, and the batch in which records are handed to it."""

    client: confluent_kafka.Producer
    batch: MicroBatch


class _NoBuffer(ProducerBuffer):
    """Buffer of Faust for records sent from synchronous code; unused here."""

    async def wait_until_ebb(self) -> None:
        """Return at once; Faust awaits this for every message."""


class Producer(BaseProducer):
    """Producer used in the event loop's thread only; every record counts towards an epoch."""

    transport: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.buffer = _NoBuffer(loop=self.loop, beacon=self.beacon)
        self.buffer.app = self.app

    def __post_init__(self) -> None:
        self.outstanding_count = 0
        self.outstanding_bytes = 0
        """Bytes of values not known to be delivered: since the queue was last empty, or since the
        last fully delivered cut."""
        self._cut_bytes = 0
        self.sent_index = SentIndex()
        """Outputs that are in the log already; `suppressed_total` counts the duplicates."""
        self.suppressed_total = 0
        self.fence = ChangelogFence()
        self._awaited_epoch: Epoch | None = None
        self._is_awaited = asyncio.Event()
        self._work = asyncio.Event()
        self._outputs_held = asyncio.Event()
        self._barriers: dict[int, ChangelogBarrier] = defaultdict(ChangelogBarrier)
        self._open_epoch()

    async def on_start(self) -> None:
        """Connect."""
        await super().on_start()
        options = self._options = self.transport.options
        self._max_undelivered_bytes = options.max_undelivered_kib * 1024
        self._lease: Lease = self.transport.lease
        self._changelogs: Mapping[str, object] = self.app.tables._changelogs  # type: ignore[attr-defined]
        fail = self.transport.fail
        self._immediate = _Lane(self._create_client(0), MicroBatch(_MIN_BATCH_WINDOW_S, fail))
        lingering = MicroBatch(_LINGERING_BATCH_WINDOW_S, fail)
        self._lingering = _Lane(self._create_client(options.linger_ms), lingering)
        self._lanes = (self._immediate, self._lingering)
        self.transport.failure_callbacks.append(self._discard_queued)

    def send_raw(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None = None,
        headers: Headers | None = None,
        barrier_partition: int | None = None,
    ) -> None:
        """Produce without a future: the next commit waits for the delivery.

        The record leaves within some milliseconds, sooner after `end_run`. `barrier_partition`: a
        partition of the changelog; the record is held until everything sent to it so far is
        acknowledged. Outputs in the sent index are suppressed. Handing the record over blocks while
        the client's queue is full, and ends the worker if the queue stays full.
        """
        if self.sent_index.digests and self._was_sent(topic, key, headers):
            self.suppressed_total += 1
            return
        options: dict[str, Any] = {"on_delivery": self._on_output}
        if partition is not None:
            options["partition"] = partition
        if headers:
            options["headers"] = headers
        self._count_outstanding(value)
        lane = self._lane(topic in self._options.lingering_topics)
        produce = partial(self._produce, lane.client, _ProduceRequest(topic, key, value, options))
        if barrier_partition is None:
            lane.batch.add(produce)
        elif not self._barriers[barrier_partition].send(partial(lane.batch.add, produce)):
            self._outputs_held.set()
            self._lingering.batch.hasten(self._immediate.batch.window_s)

    def send_changelog(self, topic: str, key: bytes, value: bytes | None, partition: int) -> None:
        """Produce a record of a table's changelog; None deletes the key."""
        options = {"on_delivery": self._on_changelog, "partition": partition}
        headers = self.fence.headers.get((topic, partition))
        if headers is not None:
            options["headers"] = headers
        self._count_outstanding(value)
        self._barriers[partition].on_write()
        request = _ProduceRequest(topic, key, value, options)
        self._lingering.batch.add(partial(self._produce, self._lingering.client, request))

    async def write_changelog(
        self, changelog: TP, token: int, rows: Sequence[tuple[bytes, bytes | None]]
    ) -> int:
        """Write one or more `rows` to a changelog's partition with the fencing token `token`.

        Returns the offset after them once they are delivered; they belong to no epoch.
        Raises DeliveryError, SessionLostError.
        """
        deliveries: list[asyncio.Future[int]] = []
        for key, value in rows:
            future = asyncio.get_running_loop().create_future()
            options = {
                "on_delivery": partial(_complete_write, future),
                "partition": changelog.partition,
                "headers": fencing_headers(token),
            }
            request = _ProduceRequest(changelog.topic, key, value, options)
            self._produce(self._lingering.client, request)
            deliveries.append(future)
        return (await asyncio.gather(*deliveries))[-1] + 1

    def end_run(self, last_input_s: float) -> None:
        """Hand waiting outputs over now, unless the worker is behind and batching pays.

        To be called at the end of a run; `last_input_s` (epoch s): when its last input was appended
        in Kafka.
        """
        age_s = time.time() - last_input_s
        window_s = min(max(age_s * _WINDOW_SHARE, _MIN_BATCH_WINDOW_S), _LINGERING_BATCH_WINDOW_S)
        self._immediate.batch.window_s = window_s
        if age_s > _BEHIND_AGE_S:
            return
        if self._outputs_held.is_set():
            self._lingering.batch.flush()
        self._immediate.batch.flush()

    def cut(self) -> Epoch:
        """End the current epoch and begin another; return the one that ended."""
        epoch = self._epoch
        epoch.close()
        self._open_epoch()
        self._cut_bytes = self.outstanding_bytes
        self._lingering.batch.flush()
        self._immediate.batch.flush()
        return epoch

    async def wait_until_delivered(self, epoch: Epoch) -> None:
        """Wait until all of `epoch` is delivered. Raises DeliveryError."""
        self._raise_if_failed()
        self._awaited_epoch = epoch
        self._is_awaited.set()
        try:
            self._serve_reports()
            self._raise_if_failed()
            await epoch.wait_until_delivered()
        finally:
            self._awaited_epoch = None
            self._is_awaited.clear()
        self._raise_if_failed()
        self.outstanding_bytes -= self._cut_bytes
        self._cut_bytes = 0

    @property
    def is_congested(self) -> bool:
        """Whether undelivered records exceed the limits of the options, so that no further event
        should be processed."""
        return self._is_above(self._options.max_undelivered_records, self._max_undelivered_bytes)

    async def wait_until_uncongested(self) -> None:
        """Wait until the queue has drained to half of these limits."""
        while self._is_above(
            self._options.max_undelivered_records // 2, self._max_undelivered_bytes // 2
        ):
            await asyncio.sleep(_SERVE_INTERVAL_S)

    def _is_above(self, record_count: int, size: int) -> bool:
        return self.outstanding_count > record_count or self.outstanding_bytes > size

    def queue_depth(self) -> int:
        """Return the number of records queued or in flight."""
        return sum(len(lane.batch) + len(lane.client) for lane in self._lanes)

    # -- Faust's interface

    async def send(  # noqa: PLR0913 - Faust's
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: HeadersArg | None,
        *,
        transactional_id: str | None = None,
    ) -> Awaitable[RecordMetadata]:
        """Produce; the returned future resolves to the record's offset."""
        future: asyncio.Future[RecordMetadata] = asyncio.get_running_loop().create_future()
        options = _options(partition, timestamp, headers)
        self._send_with_future(future, topic, key, value, options)
        return future

    async def send_and_wait(  # noqa: PLR0913 - Faust's
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: HeadersArg | None,
        *,
        transactional_id: str | None = None,
    ) -> RecordMetadata:
        """Produce and wait for the delivery."""
        return await (await self.send(topic, key, value, partition, timestamp, headers))

    def send_soon(self, fut: FutureMessage) -> None:
        """Produce at once a message that Faust would have buffered."""
        pending = fut.message
        callback = pending.callback
        if callback is not None:
            fut.add_done_callback(lambda _: callback(fut))
        options = _options(pending.partition, pending.timestamp, pending.headers)
        topic = pending.channel.get_topic_name()
        self._send_with_future(fut, topic, pending.key, pending.value, options)

    async def flush(self) -> None:
        """Wait until everything produced so far is delivered, unless delivery has failed."""
        epoch = self._epoch
        while epoch.outstanding_count and self.transport.failure is None:
            self._serve_reports()
            await asyncio.sleep(_SERVE_WHEN_AWAITED_S)

    async def create_topic(  # noqa: PLR0913 - Faust's
        self,
        topic: str,
        partitions: int,
        replication: int,
        *,
        config: Mapping[str, Any] | None = None,
        timeout: Seconds = 30.0,
        retention: Seconds | None = None,
        compacting: bool | None = None,
        deleting: bool | None = None,
        ensure_created: bool = False,
    ) -> None:
        """Create a topic unless it exists."""
        settings = {MAX_RECORD_SETTING: str(sizes.TOPIC)}
        settings |= {key: str(value) for key, value in (config or {}).items()}
        policies = [p for p, is_set in (("compact", compacting), ("delete", deleting)) if is_set]
        if policies:
            settings["cleanup.policy"] = ",".join(policies)
        if compacting:
            settings |= self._options.changelog_properties
        if retention:
            settings["retention.ms"] = str(int(want_seconds(retention) * 1000))
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(
            None, self.transport.admin.create, topic, partitions, replication, settings
        )

    def key_partition(self, topic: str, key: bytes) -> TP:
        """Return the partition of `key`."""
        return TP(topic, murmur2_partition(key, self.transport.admin.partition_count(topic)))

    def supports_headers(self) -> bool:
        """Return True: headers are always available."""
        return True

    async def on_stop(self) -> None:
        """Deliver the queued records, unless the worker has failed."""
        if self.transport.failure is None:
            try:
                async with asyncio.timeout(self._options.drain_ms / 1000):
                    await self.flush()
            except TimeoutError:
                record_count = self.queue_depth()
                self.transport.fail(
                    DeliveryError(f"{record_count} records are undelivered at the end")
                )
        self._serve_reports()  # also of purged records
        await super().on_stop()

    # -- internals

    def _discard_queued(self) -> None:
        """Drop queued records after a failure: another worker may own their partitions by now.

        No later record can overtake them, since nothing is produced after a failure.
        """
        for lane in self._lanes:
            lane.batch.drop()
            lane.client.purge(in_flight=False, blocking=False)
        if self._awaited_epoch is not None:
            self._awaited_epoch.fail(DeliveryError(str(self.transport.failure)))

    def _was_sent(self, topic: str, key: bytes | None, headers: Headers | None) -> bool:
        cause_header = self._options.cause_header
        return any(
            name == cause_header and self.sent_index.contains(topic, key, cause)
            for name, cause in headers or ()
        )

    def _create_client(self, linger_ms: float) -> confluent_kafka.Producer:
        settings = self._options.producer_settings(linger_ms)
        with background():
            return confluent_kafka.Producer(
                {**settings, "error_cb": self.transport.on_client_error}
            )

    def _lane(self, is_lingering: bool) -> _Lane:
        return self._lingering if is_lingering else self._immediate

    def _open_epoch(self) -> None:
        epoch = self._epoch = Epoch(self._on_delivery_error)
        # Bound once per epoch, not once per record.
        self._on_output: _Report = epoch.on_output
        self._on_changelog: _Report = partial(self._on_changelog_report, epoch.on_changelog)

    def _on_changelog_report(
        self, count: _Report, error: KafkaError | None, record: Record
    ) -> None:
        count(error, record)
        if error is None:
            self._barriers[record.partition()].on_acknowledgement()

    def _count_outstanding(self, value: bytes | None) -> None:
        """Count one more record that the current epoch waits for."""
        self._epoch.outstanding_count += 1
        self.outstanding_count += 1
        if value is not None:
            self.outstanding_bytes += len(value)

    def _produce(self, client: confluent_kafka.Producer, request: _ProduceRequest) -> None:
        self._check_may_write()
        try:
            client.produce(request.topic, request.value, request.key, **request.options)
        except BufferError:
            self._wait_for_room_and_produce(client, request)
        if not self._work.is_set():
            self._work.set()

    def _wait_for_room_and_produce(
        self, client: confluent_kafka.Producer, request: _ProduceRequest
    ) -> None:
        deadline = time.monotonic() + self._options.delivery_timeout_ms / 1000
        while time.monotonic() < deadline:
            client.poll(_FULL_POLL_S)
            self._check_may_write()
            try:
                return client.produce(request.topic, request.value, request.key, **request.options)
            except BufferError:
                continue
        raise DeliveryError(
            f"the queue to the broker stayed full; {request.topic} cannot be written"
        )

    def _send_with_future(
        self,
        future: "asyncio.Future[RecordMetadata]",
        topic: str,
        key: bytes | None,
        value: bytes | None,
        options: dict[str, Any],
    ) -> None:
        is_changelog = topic in self._changelogs
        count = self._epoch.on_changelog if is_changelog else self._on_output

        def report(error: KafkaError | None, record: Record) -> None:
            count(error, record)
            if not future.done():
                if error is None:
                    future.set_result(_metadata(record))
                else:
                    future.set_exception(DeliveryError(str(error)))

        lane = self._lane(is_changelog)
        self._count_outstanding(value)
        request = _ProduceRequest(topic, key, value, {**options, "on_delivery": report})
        lane.batch.add(partial(self._produce, lane.client, request))

    @Service.task
    async def _serve(self) -> None:
        while not self.should_stop:
            if not self.queue_depth():
                self._work.clear()
                self.outstanding_count = 0
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._work.wait(), _SERVE_WHEN_IDLE_S)
            if self._awaited_epoch is None:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._is_awaited.wait(), _SERVE_INTERVAL_S)
            await asyncio.sleep(_SERVE_WHEN_AWAITED_S)
            self._serve_reports()

    @Service.task
    async def _release_held_outputs(self) -> None:
        """Serve changelog reports quickly while outputs wait for them."""
        while not self.should_stop:
            await self._outputs_held.wait()
            await asyncio.sleep(_SERVE_WHEN_AWAITED_S)
            self._lingering.client.poll(0)
            self._immediate.batch.flush()
            if not any(barrier.is_holding for barrier in self._barriers.values()):
                self._outputs_held.clear()

    def _serve_reports(self) -> None:
        for lane in self._lanes:
            lane.client.poll(0)
        self.outstanding_count = self.queue_depth()
        if not self.outstanding_count:
            self.outstanding_bytes = self._cut_bytes = 0

    def _on_delivery_error(self, error: KafkaError, message: Record) -> None:
        failure = DeliveryError(
            f"a record for {message.topic()} was not delivered: {error.str()}; "
            f"{_ADVICE_BY_ERROR.get(error.code(), _REDELIVERY_NOTE)}"
        )
        if self._awaited_epoch is not None:
            self._awaited_epoch.fail(failure)
        self.transport.fail(failure)

    def _check_may_write(self) -> None:
        """Raise unless this worker may write: it has not failed and its lease is held."""
        self._raise_if_failed()
        if not self._lease.is_held:
            raise SessionLostError("another worker may own its partitions by now")

    def _raise_if_failed(self) -> None:
        if self.transport.failure is not None:
            raise DeliveryError(str(self.transport.failure))


def _complete_write(
    future: "asyncio.Future[int]", error: KafkaError | None, record: Record
) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(record.offset())
    else:
        future.set_exception(DeliveryError(f"{record.topic()} cannot be written: {error.str()}"))


def _metadata(record: Record) -> RecordMetadata:
    tp = TP(record.topic(), record.partition())
    kind, timestamp_ms = record.timestamp()
    return RecordMetadata(tp.topic, tp.partition, tp, record.offset(), timestamp_ms / 1000.0, kind)


def _options(
    partition: int | None, timestamp: float | None, headers: HeadersArg | None
) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if partition is not None:
        options["partition"] = partition
    if timestamp is not None:
        options["timestamp"] = int(timestamp * 1000)
    if headers:
        options["headers"] = list(headers.items() if isinstance(headers, Mapping) else headers)
    return options
