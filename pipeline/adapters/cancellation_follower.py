"""Follower of the topic `cancellations`: actions that adapters must no longer deliver."""

import logging
import time
from collections.abc import Mapping
from threading import Event, Thread
from typing import Final

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from pipeline.adapters.avro import Codec
from pipeline.adapters.kafka import Property
from pipeline.model import topics
from pipeline.model.decision import Cancellation

_POLL_S: Final = 0.1
_RETRY_S: Final = 0.2
_STOP_S: Final = 5.0
_MAX_REASONS: Final = 200_000
"""Maximum number of cancellations in memory, the latest ones; fewer actions await delivery."""

_log = logging.getLogger(__name__)


class CancellationLogError(Exception):
    """Raised when the topic cannot be read; the message names the remedy."""


class CancellationFollower:
    """Cancelled actions, read by a thread. Thread-safe."""

    def __init__(self, client: Mapping[str, Property], codec: Codec) -> None:
        self._client = dict(client)
        self._codec = codec
        self._reasons: dict[str, str] = {}
        self._read_once = Event()
        self._stopping = Event()
        self._thread: Thread | None = None

    def start(self, timeout_s: float) -> None:
        """Return once the topic is read to its end. Raises CancellationLogError."""
        consumer = Consumer(
            {
                **self._client,
                "group.id": "kairos.cancellations",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
            }
        )
        deadline = time.monotonic() + timeout_s
        try:
            partitions = _await_partitions(consumer, deadline)
        except CancellationLogError:
            consumer.close()
            raise
        consumer.assign(
            [
                TopicPartition(topics.CANCELLATIONS, partition, OFFSET_BEGINNING)
                for partition in partitions
            ]
        )
        self._thread = Thread(
            target=self._read, args=(consumer, set(partitions)), name="cancellations", daemon=True
        )
        self._thread.start()
        if not self._read_once.wait(max(0.0, deadline - time.monotonic())):
            self.stop()
            raise CancellationLogError(
                f"no answer from Kafka: {topics.CANCELLATIONS} was not read in time"
            )

    def stop(self) -> None:
        """Stop reading."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(_STOP_S)

    def reason(self, action_id: str) -> str | None:
        """Return the reason for which an action was cancelled; None: it was not cancelled."""
        return self._reasons.get(action_id)

    def _read(self, consumer: Consumer, unread_partitions: set[int]) -> None:
        while not self._stopping.is_set():
            message = consumer.poll(_POLL_S)
            if message is None:
                continue
            error = message.error()
            if error is None:
                self._add(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                unread_partitions.discard(message.partition() or 0)
                if not unread_partitions:
                    self._read_once.set()
            else:
                _log.warning("cancellations topic", extra={"error": error.str()})
        consumer.close()

    def _add(self, message: Message) -> None:
        value = message.value()
        record = None if value is None else self._codec.decode(topics.CANCELLATIONS, value)
        if not isinstance(record, Cancellation):
            _log.error("unreadable cancellation", extra={"at": message.offset()})
        elif record.action_id is not None:
            self._reasons[record.action_id] = record.why
            if len(self._reasons) > _MAX_REASONS:
                del self._reasons[next(iter(self._reasons))]


def _await_partitions(consumer: Consumer, deadline: float) -> list[int]:
    """Return the partitions of the topic, once it is there."""
    while True:
        try:
            remaining_s = max(0.1, deadline - time.monotonic())
            metadata = consumer.list_topics(topics.CANCELLATIONS, remaining_s)
        except KafkaException as error:
            raise CancellationLogError(f"no answer from Kafka: {error.args[0].str()}") from error
        if numbers := list(metadata.topics[topics.CANCELLATIONS].partitions):
            return numbers
        if time.monotonic() >= deadline:
            raise CancellationLogError(f"no topic {topics.CANCELLATIONS}: `kairos up` creates it")
        time.sleep(_RETRY_S)
