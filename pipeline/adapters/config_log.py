"""Reader and writer of the topic `configuration`, which holds every version ever applied."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Condition, Thread
from typing import Final, TypeAlias

import structlog
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from pipeline.adapters.avro import Codec, Malformed
from pipeline.adapters.kafka import WRITER
from pipeline.config import canonical
from pipeline.config.compile import Configuration
from pipeline.config.model import Bundle
from pipeline.model import topics
from pipeline.model.configuration import ConfigurationRecord

Property: TypeAlias = str | int | float | bool
OnChange: TypeAlias = Callable[[Configuration], None]

_START_S: Final = 30.0
_BATCH: Final = 100
_POLL_S: Final = 0.05
_STOP_S: Final = 5.0
_RETRY_S: Final = 0.1
_ASK_S: Final = 2.0
_MAX_BYTES: Final = 10_000_000
"""Bounds a bundle before compression; the topic's own limit counts by what is compressed."""

_log = structlog.get_logger(__name__)


class ConfigurationLogError(Exception):
    """Failure to read or write the topic; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Applied:
    """Configuration in force after an apply; `changed` is False when it was in force before."""

    digest: str
    changed: bool


class ConfigurationLog:
    """Log of configurations, followed by a thread; the newest record is in force. Thread-safe.

    `on_change` is called in that thread with each configuration that comes into force, once the
    log has been read to its end.
    """

    def __init__(
        self, client: Mapping[str, Property], codec: Codec, on_change: OnChange | None = None
    ) -> None:
        self._client = dict(client)
        self._codec = codec
        self._on_change = on_change
        self._news = Condition()
        self._compiled: dict[str, Configuration] = {}
        self._records: list[ConfigurationRecord] = []
        self._latest: Configuration | None = None
        self._asked = 0
        self._answered = 0
        self._stopping = False
        self._thread: Thread | None = None

    def start(self, timeout_s: float) -> None:
        """Start, and read the topic to its end. Raise ConfigurationLogError when that fails."""
        deadline = time.monotonic() + timeout_s
        consumer = Consumer(
            {
                **self._client,
                "group.id": "kairos.configuration",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
            }
        )
        try:
            partitions = _partitions(consumer, deadline)
        except ConfigurationLogError:
            consumer.close()
            raise
        consumer.assign(
            [TopicPartition(topics.CONFIGURATION, p, OFFSET_BEGINNING) for p in partitions]
        )
        reading = (consumer, partitions)
        self._thread = Thread(target=self._read, args=reading, name="configuration", daemon=True)
        self._thread.start()
        self.catch_up(deadline - time.monotonic())

    def catch_up(self, timeout_s: float) -> None:
        """Return once everything is known that is in the topic by now; else
        ConfigurationLogError."""
        with self._news:
            self._asked += 1
            mine = self._asked
            if not self._news.wait_for(lambda: self._answered >= mine, timeout_s):
                raise ConfigurationLogError(
                    f"topic {topics.CONFIGURATION} was not read within {timeout_s:g} s: "
                    "is the broker overloaded, or the topic's leader away?"
                )

    def stop(self) -> None:
        """End the reading."""
        self._stopping = True
        if self._thread is not None:
            self._thread.join(_STOP_S)

    def latest(self) -> Configuration | None:
        """Return the configuration in force; None when none was ever applied."""
        with self._news:
            return self._latest

    def get(self, digest: str) -> Configuration | None:
        """Return the configuration with this digest; None when it is unknown."""
        with self._news:
            return self._compiled.get(digest)

    def history(self) -> tuple[ConfigurationRecord, ...]:
        """Return every record, the oldest first."""
        with self._news:
            return tuple(self._records)

    def apply(self, bundle: Bundle, applied_by: str, timeout_s: float = 10.0) -> Applied:
        """Put `bundle` in force, unless it is already; returns once this log knows it.

        ConfigurationLogError when Kafka does not take it in time.
        """
        body = canonical.to_json(bundle)
        digest = canonical.digest_of(body)
        if self._is_latest(digest):
            return Applied(digest, changed=False)
        self._write(ConfigurationRecord(digest, _now_ms(), applied_by, body), timeout_s)
        with self._news:
            if not self._news.wait_for(lambda: self._is_latest(digest), timeout_s):
                raise ConfigurationLogError(f"{digest} was written but not read back; try again")
        return Applied(digest, changed=True)

    def _is_latest(self, digest: str) -> bool:
        with self._news:
            return self._latest is not None and self._latest.digest == digest

    def _write(self, record: ConfigurationRecord, timeout_s: float) -> None:
        failures: list[KafkaError] = []
        producer = Producer(
            {
                **self._client,
                **WRITER,
                "compression.type": "zstd",
                "message.max.bytes": _MAX_BYTES,
                "message.timeout.ms": round(timeout_s * 1000),
            }
        )

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                failures.append(error)

        try:
            value = self._codec.encode(topics.CONFIGURATION, record)
            producer.produce(topics.CONFIGURATION, value, record.digest, on_delivery=delivered)
            waiting = producer.flush(timeout_s + 1.0)
        except KafkaException as error:
            raise ConfigurationLogError(f"not applied: {error.args[0].str()}") from error
        if failures or waiting:
            why = failures[0].str() if failures else "no acknowledgement in time"
            raise ConfigurationLogError(f"not applied: {why}")

    def _read(self, consumer: Consumer, partitions: Iterable[int]) -> None:
        reached = dict.fromkeys(partitions, 0)
        while not self._stopping:
            asked = self._asked
            for message in consumer.consume(_BATCH, _POLL_S):
                error = message.error()
                if error is None:
                    self._take(message)
                    reached[_partition(message)] = _offset(message) + 1
                elif error.code() == KafkaError._PARTITION_EOF:
                    reached[_partition(message)] = _offset(message)
                else:
                    _log.warning("configuration topic", error=error.str())
            if asked > self._answered and _is_the_end(consumer, reached):
                self._answer(asked)
        consumer.close()

    def _answer(self, asked: int) -> None:
        """Answer a request: all records that were in the topic at its time are known."""
        with self._news:
            first = not self._answered
            self._answered = asked
            self._news.notify_all()
            latest = self._latest
        if first and latest is not None and self._on_change is not None:
            self._on_change(latest)

    def _take(self, message: Message) -> None:
        record = self._codec.decode(topics.CONFIGURATION, message.value() or b"")
        where = {"offset": message.offset(), "partition": message.partition()}
        if isinstance(record, Malformed):
            _log.error("unreadable configuration", reason=record.reason, **where)
        elif isinstance(record, ConfigurationRecord):
            self._add(record, where)

    def _add(self, record: ConfigurationRecord, where: Mapping[str, int | None]) -> None:
        config = self._compiled.get(record.digest) or _compile(record)
        if isinstance(config, str):
            _log.error("unusable configuration", digest=record.digest, reason=config, **where)
        with self._news:
            self._records.append(record)
            if isinstance(config, str) or config is self._latest:
                return
            self._compiled[record.digest] = config
            self._latest = config
            self._news.notify_all()
            tell = self._on_change if self._answered else None
        if tell is not None:
            tell(config)


@contextmanager
def open_configuration_log(
    client: Mapping[str, Property], codec: Codec
) -> Iterator[ConfigurationLog]:
    """Open the log for a command, read to its end. Raise ConfigurationLogError."""
    log = ConfigurationLog(client, codec)
    log.start(_START_S)
    try:
        yield log
    finally:
        log.stop()


def _compile(record: ConfigurationRecord) -> Configuration | str:
    """Compile a record, or return why this version of Kairos cannot use it."""
    if canonical.digest_of(record.body) != record.digest:
        return "the body does not have this digest"
    try:
        config = Configuration.from_json(record.body)
    except ValueError as error:
        return str(error)
    return config


def _is_the_end(consumer: Consumer, reached: Mapping[int, int]) -> bool:
    """Return whether the broker has no records beyond these offsets."""
    try:
        for partition, offset in reached.items():
            where = TopicPartition(topics.CONFIGURATION, partition)
            if consumer.get_watermark_offsets(where, _ASK_S)[1] > offset:
                return False
    except KafkaException as error:
        _log.warning("configuration topic", error=error.args[0].str())
        return False
    return True


def _partition(message: Message) -> int:
    partition = message.partition()
    assert partition is not None
    return partition


def _offset(message: Message) -> int:
    offset = message.offset()
    assert offset is not None
    return offset


def _partitions(consumer: Consumer, deadline: float) -> list[int]:
    while True:
        try:
            known = consumer.list_topics(
                topics.CONFIGURATION, max(0.1, deadline - time.monotonic())
            )
        except KafkaException as error:
            raise ConfigurationLogError(f"no answer from Kafka: {error.args[0].str()}") from error
        found = sorted(known.topics[topics.CONFIGURATION].partitions)
        if found:
            return found
        if time.monotonic() >= deadline:
            what = f"no topic {topics.CONFIGURATION}: `kairos up` makes it"
            raise ConfigurationLogError(what)
        time.sleep(_RETRY_S)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
