"""Follower of the topic `configuration`: every version ever applied, and the one in force."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from threading import Condition, Thread
from typing import Final, TypeAlias

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from pipeline.adapters.avro import Codec, MalformedRecord
from pipeline.adapters.kafka import Property, offset_of, source_partition
from pipeline.adapters.topic_follower import open_consumer
from pipeline.config import canonical
from pipeline.config.compile import Configuration
from pipeline.model import topics
from pipeline.model.configuration import ConfigurationRecord

OnChange: TypeAlias = Callable[[Configuration], None]

_MAX_BATCH_RECORDS: Final = 100
_POLL_S: Final = 0.05
_STOP_S: Final = 5.0
_REQUEST_TIMEOUT_S: Final = 2.0

_log = logging.getLogger(__name__)


class ConfigurationLogError(Exception):
    """Raised when the topic cannot be read or written; the message names the remedy."""


class ConfigurationFollower:
    """Follower of the topic; the newest usable record is in force. Thread-safe.

    A thread reads the topic, and calls `on_change` with each configuration that comes into force,
    once the log has been read to its end.
    """

    def __init__(
        self, client: Mapping[str, Property], codec: Codec, on_change: OnChange | None = None
    ) -> None:
        self._client = dict(client)
        self._codec = codec
        self._on_change = on_change
        self._condition = Condition()
        self._configurations: dict[str, Configuration] = {}
        self._records: list[ConfigurationRecord] = []
        self._latest_configuration: Configuration | None = None
        self._request_count = 0
        self._answer_count = 0
        self._is_stopping = False
        self._thread: Thread | None = None

    def start(self, timeout_s: float) -> None:
        """Return once the topic is read to its end. Raises ConfigurationLogError."""
        deadline = time.monotonic() + timeout_s
        arguments = open_consumer(
            self._client, topics.CONFIGURATION, deadline, ConfigurationLogError
        )
        self._thread = Thread(target=self._read, args=arguments, name="configuration", daemon=True)
        self._thread.start()
        self.catch_up(deadline - time.monotonic())

    def catch_up(self, timeout_s: float) -> None:
        """Return once all records now in the topic are read. Raises ConfigurationLogError."""
        with self._condition:
            self._request_count += 1
            request = self._request_count
            if not self._condition.wait_for(lambda: self._answer_count >= request, timeout_s):
                raise ConfigurationLogError(
                    f"topic {topics.CONFIGURATION} was not read within {timeout_s:g} s: "
                    "is the broker overloaded, or the topic's leader away?"
                )

    def stop(self) -> None:
        """Stop reading."""
        self._is_stopping = True
        if self._thread is not None:
            self._thread.join(_STOP_S)

    def configuration_in_force(self) -> Configuration | None:
        """Return the configuration in force; None if none was ever applied."""
        with self._condition:
            return self._latest_configuration

    def get(self, digest: str) -> Configuration | None:
        """Return the configuration with this digest, if it was read from the topic."""
        with self._condition:
            return self._configurations.get(digest)

    def history(self) -> tuple[ConfigurationRecord, ...]:
        """Return every record, the oldest first."""
        with self._condition:
            return tuple(self._records)

    def wait_until_in_force(self, digest: str, timeout_s: float) -> bool:
        """Wait for the configuration with this digest; return False after `timeout_s`."""
        with self._condition:
            return self._condition.wait_for(lambda: self._is_in_force(digest), timeout_s)

    def _is_in_force(self, digest: str) -> bool:
        return (
            self._latest_configuration is not None and self._latest_configuration.digest == digest
        )

    def _read(self, consumer: Consumer, partitions: Iterable[int]) -> None:
        next_offsets = dict.fromkeys(partitions, 0)
        while not self._is_stopping:
            request_count = self._request_count
            for message in consumer.consume(_MAX_BATCH_RECORDS, _POLL_S):
                error = message.error()
                if error is None:
                    self._add_message(message)
                    next_offsets[source_partition(message)[1]] = offset_of(message) + 1
                elif error.code() == KafkaError._PARTITION_EOF:
                    next_offsets[source_partition(message)[1]] = offset_of(message)
                else:
                    _log.warning("configuration topic", extra={"error": error.str()})
            if request_count > self._answer_count and _is_at_end(consumer, next_offsets):
                self._answer(request_count)
        consumer.close()

    def _answer(self, request_count: int) -> None:
        """Complete the first `request_count` calls of `catch_up`, whose records are read by now."""
        with self._condition:
            is_first = not self._answer_count
            self._answer_count = request_count
            self._condition.notify_all()
            latest_configuration = self._latest_configuration
        if is_first and latest_configuration is not None and self._on_change is not None:
            self._on_change(latest_configuration)

    def _add_message(self, message: Message) -> None:
        record = self._codec.decode(topics.CONFIGURATION, message.value() or b"")
        position = {"offset": message.offset(), "partition": message.partition()}
        if isinstance(record, MalformedRecord):
            _log.error("unreadable configuration", extra={"reason": record.reason, **position})
        elif isinstance(record, ConfigurationRecord):
            self._add_record(record, position)

    def _add_record(self, record: ConfigurationRecord, position: Mapping[str, int | None]) -> None:
        config = self._configurations.get(record.digest) or _compile(record)
        if isinstance(config, str):
            _log.error(
                "unusable configuration",
                extra={"digest": record.digest, "reason": config, **position},
            )
        with self._condition:
            self._records.append(record)
            if isinstance(config, str) or config is self._latest_configuration:
                return
            self._configurations[record.digest] = config
            self._latest_configuration = config
            self._condition.notify_all()
            notify = self._on_change if self._answer_count else None
        if notify is not None:
            notify(config)


def _compile(record: ConfigurationRecord) -> Configuration | str:
    """Return the configuration, or the reason why this version of Kairos cannot use it."""
    if canonical.digest_of(record.body) != record.digest:
        return "the body does not have this digest"
    try:
        config = Configuration.from_json(record.body)
    except ValueError as error:
        return str(error)
    return config


def _is_at_end(consumer: Consumer, next_offsets: Mapping[int, int]) -> bool:
    """Return whether the broker has no records beyond these offsets now."""
    try:
        for partition, offset in next_offsets.items():
            topic_partition = TopicPartition(topics.CONFIGURATION, partition)
            if consumer.get_watermark_offsets(topic_partition, _REQUEST_TIMEOUT_S)[1] > offset:
                return False
    except KafkaException as error:
        _log.warning("configuration topic", extra={"error": error.args[0].str()})
        return False
    return True
