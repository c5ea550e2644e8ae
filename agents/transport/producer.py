"""Faust's producer over two librdkafka producers: a prompt and a patient one.

Outputs leave once what was read with them is processed; in bunches where the worker is behind.
Changelog records, and what is sent to topics that nobody waits for, wait some milliseconds for
company, which spares requests, and do not hold up the outputs. Order between the two does not
matter: a commit waits for both. Only where outputs must come `after` their rows do they wait for
those.
"""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
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

from agents.transport.background import background
from agents.transport.bunch import Bunch
from agents.transport.epochs import Epoch
from agents.transport.errors import DeliveryError, SessionLostError
from agents.transport.gate import Gate
from agents.transport.lease import Lease
from agents.transport.murmur2 import murmur2_partition
from agents.transport.ownership import Ownership, owner_headers
from agents.transport.past import Past
from agents.transport.records import Headers, Record
from pipeline.adapters.topics import LARGEST_RECORD
from pipeline.model import sizes

_Report = Callable[[KafkaError | None, Record], None]

#: Delivery reports are nobody's critical path but the commit's: they are served in bunches.
_SERVE_S = 0.005
_SERVE_WHEN_AWAITED_S = 0.001
#: Errors of a client that has nothing to do are told so late.
_SERVE_WHEN_IDLE_S = 1.0
_FULL_POLL_S = 0.01
#: How long outputs wait for others where the worker is behind, and other records anyway.
_BUNCH_S = 0.003
_PATIENT_BUNCH_S = 0.005
#: What stood in Kafka for so long before it was processed shows that the worker is behind.
_BEHIND_S = 0.0025
_AGAIN = "what it belongs to is processed again after a restart"
_ADVICE = {KafkaError.MSG_SIZE_TOO_LARGE: "`kairos doctor` names topics that take too little"}


class _NoBuffer(ProducerBuffer):
    """Faust's buffer for what is sent from synchronous code, of which there is nothing here."""

    async def wait_until_ebb(self) -> None:
        """Asked for every message."""


class Producer(BaseProducer):
    """Produces in the event loop's thread only; every record counts towards an epoch."""

    transport: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.buffer = _NoBuffer(loop=self.loop, beacon=self.beacon)
        self.buffer.app = self.app

    def __post_init__(self) -> None:
        self.outstanding = 0
        #: Bytes of values sent since nothing waited, or since the last cut before which all is
        #: delivered.
        self.outstanding_bytes = 0
        self._cut_bytes = 0
        #: What is in the log already, and how much of it was not sent again.
        self.past = Past()
        self.spared_total = 0
        self.ownership = Ownership()
        self._awaited = 0
        self._work = asyncio.Event()
        self._held = asyncio.Event()
        self._gates: dict[int, Gate] = defaultdict(Gate)
        self._open_epoch()

    async def on_start(self) -> None:
        """Connect."""
        await super().on_start()
        options = self._options = self.transport.options
        self._high_water_bytes = options.producer_high_water_kib * 1024
        self._lease: Lease = self.transport.lease
        self._changelogs: Mapping[str, object] = self.app.tables._changelogs  # type: ignore[attr-defined]
        self._prompt = self._client(0)
        self._patient = self._client(options.patience_ms)
        self._bunch = Bunch(_BUNCH_S, self.transport.fail)
        self._patient_bunch = Bunch(_PATIENT_BUNCH_S, self.transport.fail)
        self.transport.upon_failure.append(self._abandon)

    def send_raw(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None = None,
        headers: Headers | None = None,
        after: int | None = None,
    ) -> None:
        """Produce without a future: the next commit is the proof of delivery.

        It leaves within some milliseconds; sooner when `let_go` tells that nothing more follows.
        `after`: not before everything sent so far to this partition of the changelog is in it.
        What was sent before is not sent again. Where the queue is full it blocks as it leaves; that
        it stays so ends the worker.
        """
        if self.past.marks and self._is_past(topic, key, headers):
            self.spared_total += 1
            return
        options: dict[str, Any] = {"on_delivery": self._on_output}
        if partition is not None:
            options["partition"] = partition
        if headers:
            options["headers"] = headers
        self._count(value)
        client, bunch = self._way(topic in self._options.unhurried)
        produce = partial(self._produce, client, topic, key, value, options)
        if after is None:
            bunch.add(produce)
        elif not self._gates[after].send(partial(bunch.add, produce)):
            self._held.set()

    def send_changelog(self, topic: str, key: bytes, value: bytes | None, partition: int) -> None:
        """Produce a record of a table's changelog; None deletes the key."""
        options = {"on_delivery": self._on_changelog, "partition": partition}
        headers = self.ownership.headers.get((topic, partition))
        if headers is not None:
            options["headers"] = headers
        self._count(value)
        self._gates[partition].written()
        self._patient_bunch.add(partial(self._produce, self._patient, topic, key, value, options))

    async def write_changelog(
        self, changelog: TP, owner: int, rows: Sequence[tuple[bytes, bytes | None]]
    ) -> int:
        """Write one or more `rows` to a changelog's partition as the `owner` of this number.

        Returns the offset after them once they are delivered; they belong to no epoch.
        Raises DeliveryError, SessionLostError.
        """
        written: list[asyncio.Future[int]] = []
        for key, value in rows:
            future = asyncio.get_running_loop().create_future()
            options = {
                "on_delivery": partial(_settle, future),
                "partition": changelog.partition,
                "headers": owner_headers(owner),
            }
            self._produce(self._patient, changelog.topic, key, value, options)
            written.append(future)
        return (await asyncio.gather(*written))[-1] + 1

    def let_go(self, written_at: float) -> None:
        """Nothing more follows right now from what was read; the last of it stands in Kafka since
        `written_at` (epoch s). Where that is long ago, bunches pay."""
        if time.time() - written_at > _BEHIND_S:
            return
        if self._options.rows_first:
            self._patient_bunch.leave()
        self._bunch.leave()

    def cut(self) -> Epoch:
        """End the current epoch, begin another; returns the one that ended."""
        epoch = self._epoch
        epoch.close()
        self._open_epoch()
        self._cut_bytes = self.outstanding_bytes
        self._patient_bunch.leave()
        self._bunch.leave()
        return epoch

    async def delivered(self, epoch: Epoch) -> None:
        """Wait until all of `epoch` is delivered. Raises DeliveryError."""
        self._raise_failure()
        self._awaited += 1
        self._awaited_epoch = epoch
        try:
            self._serve_reports()
            await epoch.delivered()
        finally:
            self._awaited -= 1
        self._raise_failure()
        self.outstanding_bytes -= self._cut_bytes
        self._cut_bytes = 0

    @property
    def congested(self) -> bool:
        """Whether so much is undelivered that no further event should be processed."""
        return self._above(self._options.producer_high_water, self._high_water_bytes)

    async def uncongested(self) -> None:
        """Wait until half of what congests the producer is delivered."""
        while self._above(self._options.producer_high_water // 2, self._high_water_bytes // 2):
            await asyncio.sleep(_SERVE_S)

    def _above(self, records: int, size: int) -> bool:
        return self.outstanding > records or self.outstanding_bytes > size

    def queue_depth(self) -> int:
        """Return how many records wait to leave or are on their way."""
        held = len(self._bunch) + len(self._patient_bunch)
        return held + len(self._prompt) + len(self._patient)

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
        """Produce; the future returned tells where the record went."""
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
        """Produce at once what Faust would have buffered."""
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
        while epoch.outstanding and self.transport.failure is None:
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
        settings = {LARGEST_RECORD: str(sizes.TOPIC)}
        settings |= {key: str(value) for key, value in (config or {}).items()}
        policies = [p for p, wanted in (("compact", compacting), ("delete", deleting)) if wanted]
        if policies:
            settings["cleanup.policy"] = ",".join(policies)
        if retention:
            settings["retention.ms"] = str(int(want_seconds(retention) * 1000))
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(
            None, self.transport.admin.create, topic, partitions, replication, settings
        )

    def key_partition(self, topic: str, key: bytes) -> TP:
        """Return where `key` goes."""
        return TP(topic, murmur2_partition(key, self.transport.admin.partitions(topic)))

    def supports_headers(self) -> bool:
        """Headers are always available."""
        return True

    async def on_stop(self) -> None:
        """Deliver what is left, unless the worker fails."""
        if self.transport.failure is None:
            try:
                async with asyncio.timeout(self._options.drain_ms / 1000):
                    await self.flush()
            except TimeoutError:
                left = self.queue_depth()
                self.transport.fail(DeliveryError(f"{left} records are undelivered at the end"))
        self._serve_reports()  # also of what was dropped
        await super().on_stop()

    # -- inside

    def _abandon(self) -> None:
        """Drop what has not left: after a failure it may no longer be ours to send.

        No younger record can leave in its place, since nothing is produced after a failure.
        """
        for bunch in (self._bunch, self._patient_bunch):
            bunch.drop()
        for client in (self._prompt, self._patient):
            client.purge(in_flight=False, blocking=False)
        if self._awaited:
            self._awaited_epoch.fail(DeliveryError(str(self.transport.failure)))

    def _is_past(self, topic: str, key: bytes | None, headers: Headers | None) -> bool:
        wanted = self._options.cause_header
        return any(
            name == wanted and self.past.has(topic, key, cause) for name, cause in headers or ()
        )

    def _client(self, linger_ms: float) -> confluent_kafka.Producer:
        settings = self._options.producer(linger_ms)
        with background():
            return confluent_kafka.Producer(
                {**settings, "error_cb": self.transport.on_client_error}
            )

    def _way(self, patient: bool) -> tuple[confluent_kafka.Producer, Bunch]:
        """The client, and the bunch in which records leave for it."""
        return (self._patient, self._patient_bunch) if patient else (self._prompt, self._bunch)

    def _open_epoch(self) -> None:
        epoch = self._epoch = Epoch(self._on_delivery_error)
        # Bound once per epoch, not once per record.
        self._on_output: _Report = epoch.on_output
        self._on_changelog: _Report = partial(self._in_changelog, epoch.on_changelog)

    def _in_changelog(self, count: _Report, error: KafkaError | None, record: Record) -> None:
        count(error, record)
        if error is None:
            self._gates[record.partition()].acknowledged()

    def _count(self, value: bytes | None) -> None:
        """One record more that the current epoch waits for."""
        self._epoch.outstanding += 1
        self.outstanding += 1
        if value is not None:
            self.outstanding_bytes += len(value)

    def _produce(
        self,
        client: confluent_kafka.Producer,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        options: dict[str, Any],
    ) -> None:
        self._check_standing()
        try:
            client.produce(topic, value, key, **options)
        except BufferError:
            self._produce_when_there_is_room(client, topic, key, value, options)
        if not self._work.is_set():
            self._work.set()

    def _produce_when_there_is_room(
        self,
        client: confluent_kafka.Producer,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        options: dict[str, Any],
    ) -> None:
        give_up_at = time.monotonic() + self._options.delivery_timeout_ms / 1000
        while time.monotonic() < give_up_at:
            client.poll(_FULL_POLL_S)
            self._check_standing()
            try:
                return client.produce(topic, value, key, **options)
            except BufferError:
                continue
        raise DeliveryError(f"the queue to the broker stayed full; {topic} cannot be written")

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

        client, bunch = self._way(is_changelog)
        self._count(value)
        options = {**options, "on_delivery": report}
        bunch.add(partial(self._produce, client, topic, key, value, options))

    @Service.task
    async def _serve(self) -> None:
        while not self.should_stop:
            if not self.queue_depth():
                self._work.clear()
                self.outstanding = 0
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._work.wait(), _SERVE_WHEN_IDLE_S)
            await asyncio.sleep(_SERVE_WHEN_AWAITED_S if self._awaited else _SERVE_S)
            self._serve_reports()

    @Service.task
    async def _serve_held(self) -> None:
        """Outputs that wait for their rows are somebody's critical path."""
        while not self.should_stop:
            await self._held.wait()
            await asyncio.sleep(_SERVE_WHEN_AWAITED_S)
            self._patient.poll(0)
            self._bunch.leave()
            if not any(gate.holds for gate in self._gates.values()):
                self._held.clear()

    def _serve_reports(self) -> None:
        self._prompt.poll(0)
        self._patient.poll(0)
        self.outstanding = self.queue_depth()
        if not self.outstanding:
            self.outstanding_bytes = self._cut_bytes = 0

    def _on_delivery_error(self, error: KafkaError, message: Record) -> None:
        failure = DeliveryError(
            f"a record for {message.topic()} was not delivered: {error.str()}; "
            f"{_ADVICE.get(error.code(), _AGAIN)}"
        )
        if self._awaited:
            self._awaited_epoch.fail(failure)
        self.transport.fail(failure)

    def _check_standing(self) -> None:
        """Whoever has failed, or may have lost its partitions, writes nothing more."""
        self._raise_failure()
        if not self._lease.held:
            raise SessionLostError("its partitions may be another's by now")

    def _raise_failure(self) -> None:
        if self.transport.failure is not None:
            raise DeliveryError(str(self.transport.failure))


def _settle(future: "asyncio.Future[int]", error: KafkaError | None, record: Record) -> None:
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
