"""Process of the learner, which reads `decisions`, counts, publishes, and leases budgets.

One process reads all partitions. Its position is in its ledger; what it commits to its
consumer group only shows its lag.
"""

import logging
import signal
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from prometheus_client import start_http_server

from pipeline.adapters.avro import Codec
from pipeline.adapters.budget_log import newest_budgets
from pipeline.adapters.clock import now_ms
from pipeline.adapters.config_follower import ConfigurationFollower
from pipeline.adapters.kafka import offset_of, source_partition
from pipeline.adapters.private_files import make_folder
from pipeline.adapters.run_state import announce, withdraw
from pipeline.config.compile import Configuration
from pipeline.decisioning.budgets.accounts import account_of
from pipeline.home.codec import open_codec
from pipeline.learner import metrics
from pipeline.learner.lease_writer import LeaseWriter
from pipeline.learner.ledger import EvidenceLedger
from pipeline.learner.snapshots import SnapshotPublisher
from pipeline.learner.treasury import Treasury
from pipeline.model import topics
from pipeline.model.decision import Decision
from pipeline.settings import Settings

_START_S: Final = 30.0
_BATCH: Final = 1000
_POLL_S: Final = 0.2
_EXPIRE_EVERY_S: Final = 60.0
_FIRST_LEASES_S: Final = 20.0
_METADATA_S: Final = 30.0
_LONG_MS: Final = 10**15
"""Half-life while no configuration says one: nothing fades."""
_WAITABLE: Final = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._ALL_BROKERS_DOWN)

_log = logging.getLogger("kairos.learner")


def run(settings: Settings, name: str, group: str) -> None:
    """Learn until SIGTERM or SIGINT. Raise when the process cannot go on.

    `name`: that in the list of processes; `group`: the consumer group that shows its lag.
    """
    announce(settings.home, name, "starting")
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    codec = open_codec(settings)
    configurations = ConfigurationFollower(settings.kafka(), codec)
    configurations.start(_START_S)
    folder = settings.home / "state" / name
    make_folder(settings.home, folder)
    ledger = EvidenceLedger(folder / "evidence")
    try:
        ports = {"metrics": start_http_server(0, "127.0.0.1")[0].server_port}
        consumer, partitions = _consumer(settings, group)
        learner = _Learner(settings, codec, ledger, configurations, partitions)
        learner.catch_up(consumer, stopped)
        learner.lease_first(consumer, stopped)
        announce(settings.home, name, "ready", ports)
        learner.learn(consumer, stopped)
        announce(settings.home, name, "stopping", ports)
    finally:
        ledger.close()
        configurations.stop()
        withdraw(settings.home, name)


class _Learner:
    """Loop of the process."""

    def __init__(
        self,
        settings: Settings,
        codec: Codec,
        ledger: EvidenceLedger,
        configurations: ConfigurationFollower,
        partitions: int,
    ) -> None:
        self._codec = codec
        self._ledger = ledger
        self._configurations = configurations
        self._every_s = settings.snapshot_ms / 1000
        self._publisher = SnapshotPublisher(settings.kafka(), codec)
        self._resume()
        self._writer = LeaseWriter(settings.kafka(), codec, partitions)
        if ledger.is_new:
            newest = newest_budgets(settings.kafka(), codec)
            ledger.put_accounts({name: account_of(one) for name, one in newest.items()})
        self._partitions = partitions
        self._treasury = Treasury(ledger, self._writer, partitions)
        self._changed = False
        self._published_s = 0.0
        self._expired_s = time.monotonic()

    def learn(self, consumer: Consumer, stopped: threading.Event) -> None:
        """Read, count, publish and lease."""
        while not stopped.is_set():
            self._fold(consumer, consumer.consume(_BATCH, _POLL_S))
            self._lease()
            now_s = time.monotonic()
            if self._changed and now_s - self._published_s >= self._every_s:
                self._publish()
                self._published_s = now_s
            if now_s - self._expired_s >= _EXPIRE_EVERY_S:
                self._ledger.expire(self._ledger.state.as_of)
                self._expired_s = now_s
        consumer.close()
        self._writer.close()

    def catch_up(self, consumer: Consumer, stopped: threading.Event) -> None:
        """Read again what a ledger that was made anew contains already, before anything else; have
        the consumer read all partitions from there on.

        Feedback on an action may be in several partitions: what is counted must be known, in all of
        them, before what is not.
        """
        for offsets in self._ledger.restored_up_to():
            ends = self._unread(consumer, offsets)
            consumer.assign(_places(self._ledger, ends))
            while ends and not stopped.is_set():
                messages = consumer.consume(_BATCH, _POLL_S)
                self._fold(consumer, [one for one in messages if _is_before(one, ends)])
                ends = self._unread(consumer, offsets)
        consumer.assign(_places(self._ledger, range(self._partitions)))

    def _unread(self, consumer: Consumer, offsets: Mapping[str, int]) -> dict[int, int]:
        """Return the partitions of which something before `offsets` is unread, with the offset
        after that."""
        unread = {}
        for name, end in offsets.items():
            partition, begin = int(name), self._ledger.state.offsets.get(name, 0)
            if begin < end:
                place = TopicPartition(topics.DECISIONS, partition)
                low, high = consumer.get_watermark_offsets(place, _METADATA_S)
                if max(begin, low) < min(end, high):
                    unread[partition] = min(end, high)
        return unread

    def lease_first(self, consumer: Consumer, stopped: threading.Event) -> None:
        """Lease budgets, and wait until workers know of it, though not for long: without a lease
        nothing is spent."""
        deadline = time.monotonic() + _FIRST_LEASES_S
        while not stopped.is_set() and time.monotonic() < deadline:
            self._fold(consumer, consumer.consume(_BATCH, _POLL_S))
            self._lease()
            if self._treasury.is_told():
                return

    def _lease(self) -> None:
        config = self._configuration()
        if config is not None and (config.budgets or self._ledger.accounts):
            self._treasury.work(config, now_ms())

    def _resume(self) -> None:
        """Take over the newest snapshot where the ledger is lost; else know its number.

        A snapshot that is newer than the ledger knows was published just before a kill.
        """
        newest = self._publisher.newest()
        if newest is None:
            return
        if self._ledger.is_new:
            _log.warning(
                "the ledger is new: it begins with the snapshot", extra={"number": newest.number}
            )
            self._ledger.restore(newest)
        elif newest.number > self._ledger.state.number:
            self._ledger.note_published(newest.number)
        metrics.NUMBER.set(newest.number)

    def _fold(self, consumer: Consumer, messages: Sequence[Message]) -> None:
        decisions: list[tuple[int, int, Decision]] = []
        ends: dict[int, int] = {}
        for message in messages:
            if not _is_record(message):
                continue
            (_, partition), offset = source_partition(message), offset_of(message)
            ends[partition] = offset + 1
            record = self._codec.decode(topics.DECISIONS, message.value() or b"")
            if isinstance(record, Decision):
                decisions.append((partition, offset, record))
            else:
                metrics.UNREADABLE.inc()
                _log.error("unreadable decision", extra={"partition": partition, "offset": offset})
        if not ends:
            return
        count = self._ledger.fold(decisions, ends, self._half_life_ms(), now_ms())
        metrics.FEEDBACK.inc(count)
        self._changed = self._changed or count > 0
        places = [TopicPartition(topics.DECISIONS, one, end) for one, end in ends.items()]
        consumer.commit(offsets=places, asynchronous=True)

    def _publish(self) -> None:
        config = self._configuration()
        if config is None or config.learning is None or config.learning.frozen:
            return
        record = self._publisher.publish(self._ledger, config.learning.half_life_ms, now_ms())
        self._changed = False
        metrics.SNAPSHOTS.inc()
        metrics.NUMBER.set(record.number)
        metrics.PUBLISHED.set(record.published_at / 1000)

    def _configuration(self) -> Configuration | None:
        return self._configurations.latest()

    def _half_life_ms(self) -> int:
        config = self._configuration()
        if config is None or config.learning is None:
            return _LONG_MS
        return config.learning.half_life_ms


def _consumer(settings: Settings, group: str) -> tuple[Consumer, int]:
    """Return a consumer that reads no partition yet, and the number of partitions."""
    consumer = Consumer(
        {
            **settings.kafka(),
            "group.id": group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",
        }
    )
    partitions = consumer.list_topics(topics.DECISIONS, _METADATA_S).topics[topics.DECISIONS]
    return consumer, len(partitions.partitions)


def _places(ledger: EvidenceLedger, partitions: Iterable[int]) -> list[TopicPartition]:
    """Return where the ledger goes on reading."""
    known = ledger.state.offsets
    return [TopicPartition(topics.DECISIONS, one, known.get(str(one), 0)) for one in partitions]


def _is_before(message: Message, ends: Mapping[int, int]) -> bool:
    """Return whether a message is an error, or a record before the end of its partition."""
    if message.error() is not None:
        return True
    (_, partition), offset = source_partition(message), offset_of(message)
    return offset < ends.get(partition, 0)


def _is_record(message: Message) -> bool:
    """Return False for a temporary error. Raises KafkaException for a permanent one."""
    error = message.error()
    if error is None:
        return True
    if error.fatal() or not (error.retriable() or error.code() in _WAITABLE):
        raise KafkaException(error)
    _log.warning("Kafka", extra={"error": error.str()})
    return False
