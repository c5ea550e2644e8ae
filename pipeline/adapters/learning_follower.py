"""Follower of the topic `learning`: the newest record of each key."""

import logging
import time
from collections.abc import Callable, Mapping
from threading import Event, Thread
from typing import Final, TypeAlias

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from pipeline.adapters.avro import Codec, MalformedRecord
from pipeline.adapters.kafka import Property
from pipeline.model import topics
from pipeline.model.learning import LearningRecord

OnRecord: TypeAlias = Callable[[str, LearningRecord | None], None]
"""Function that takes a key and its newest record, None for a tombstone."""

_POLL_S: Final = 0.1
_RETRY_S: Final = 0.2
_STOP_S: Final = 5.0
_START_S: Final = 30.0

_log = logging.getLogger(__name__)


class LearningLogError(Exception):
    """Raised when the topic cannot be read or written; the message names the remedy."""


class LearningFollower:
    """Records of the topic, read by a thread, in which `on_record` is called with each.

    Thread-safe. Up to the topic's present end, only the newest record of a key is passed on.
    """

    def __init__(
        self, client: Mapping[str, Property], codec: Codec, on_record: OnRecord | None = None
    ) -> None:
        self._client = dict(client)
        self._codec = codec
        self._on_record = on_record
        self._records: dict[str, LearningRecord] = {}
        self._read_once = Event()
        self._stopping = Event()
        self._thread: Thread | None = None

    def start(self, timeout_s: float = _START_S) -> None:
        """Return once the topic is read to its end. Raises LearningLogError."""
        consumer = Consumer(
            {
                **self._client,
                "group.id": "kairos.learning",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
            }
        )
        deadline = time.monotonic() + timeout_s
        try:
            _await_topic(consumer, deadline)
        except LearningLogError:
            consumer.close()
            raise
        consumer.assign([TopicPartition(topics.LEARNING, 0, OFFSET_BEGINNING)])
        self._thread = Thread(target=self._read, args=(consumer,), name="learning", daemon=True)
        self._thread.start()
        if not self._read_once.wait(max(0.0, deadline - time.monotonic())):
            self.stop()
            raise LearningLogError(f"no answer from Kafka: {topics.LEARNING} was not read in time")

    def stop(self) -> None:
        """Stop reading."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(_STOP_S)

    def newest_records(self) -> dict[str, LearningRecord]:
        """Return the newest record of each key."""
        return dict(self._records)

    def _read(self, consumer: Consumer) -> None:
        while not self._stopping.is_set():
            message = consumer.poll(_POLL_S)
            if message is None:
                continue
            error = message.error()
            if error is None:
                self._add(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                self._pass_on_first_records()
            else:
                _log.warning("learning topic", extra={"error": error.str()})
        consumer.close()

    def _pass_on_first_records(self) -> None:
        if self._read_once.is_set():
            return
        if self._on_record is not None:
            for key, record in list(self._records.items()):
                self._on_record(key, record)
        self._read_once.set()

    def _add(self, message: Message) -> None:
        key, value = (message.key() or b"").decode(errors="replace"), message.value()
        record = None if value is None else self._codec.decode(topics.LEARNING, value)
        if isinstance(record, MalformedRecord):
            _log.error(
                "unreadable learning",
                extra={"key": key, "reason": record.reason, "at": message.offset()},
            )
            return
        if isinstance(record, LearningRecord):
            self._records = {**self._records, key: record}
        else:
            self._records = {name: record for name, record in self._records.items() if name != key}
            record = None
        if self._read_once.is_set() and self._on_record is not None:
            self._on_record(key, record)


def _await_topic(consumer: Consumer, deadline: float) -> None:
    while True:
        try:
            metadata = consumer.list_topics(topics.LEARNING, max(0.1, deadline - time.monotonic()))
        except KafkaException as error:
            raise LearningLogError(f"no answer from Kafka: {error.args[0].str()}") from error
        if metadata.topics[topics.LEARNING].partitions:
            return
        if time.monotonic() >= deadline:
            raise LearningLogError(f"no topic {topics.LEARNING}: `kairos up` creates it")
        time.sleep(_RETRY_S)
