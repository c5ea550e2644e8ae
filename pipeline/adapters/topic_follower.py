"""Follower of a topic: a thread that reads it from its beginning to its end, and then on."""

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

from pipeline.adapters.kafka import Property, source_partition

OnMessage: TypeAlias = Callable[[Message], None]
"""Function that takes each record, in the follower's thread."""

_POLL_S: Final = 0.1
_RETRY_S: Final = 0.1
_STOP_S: Final = 5.0

_log = logging.getLogger(__name__)


class TopicFollower:
    """Follower whose thread passes on the records of `topic`.

    Errors are logged, and reading goes on.

    `error_type`: type of the error that `start` raises. `on_first_end` is called in the thread when
    the topic is read to its end for the first time.
    """

    def __init__(
        self,
        client: Mapping[str, Property],
        topic: str,
        error_type: type[Exception],
        on_message: OnMessage,
        on_first_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._client = dict(client)
        self._topic = topic
        self._error_type = error_type
        self._on_message = on_message
        self._on_first_end = on_first_end
        self._first_end = Event()
        self._stop_request = Event()
        self._thread: Thread | None = None

    def start(self, timeout_s: float) -> None:
        """Return once the topic is read to its end. Raises `error_type`."""
        deadline = time.monotonic() + timeout_s
        consumer, partitions = open_consumer(self._client, self._topic, deadline, self._error_type)
        self._thread = Thread(
            target=self._read,
            args=(consumer, set(partitions)),
            name=self._topic,
            daemon=True,
        )
        self._thread.start()
        if not self._first_end.wait(max(0.0, deadline - time.monotonic())):
            self.stop()
            raise self._error_type(f"no answer from Kafka: {self._topic} was not read in time")

    def stop(self) -> None:
        """Stop reading."""
        self._stop_request.set()
        if self._thread is not None:
            self._thread.join(_STOP_S)

    @property
    def has_reached_end(self) -> bool:
        """Whether the topic has been read to its end."""
        return self._first_end.is_set()

    def _read(self, consumer: Consumer, unread_partitions: set[int]) -> None:
        while not self._stop_request.is_set():
            message = consumer.poll(_POLL_S)
            if message is None:
                continue
            error = message.error()
            if error is None:
                self._on_message(message)
            elif error.code() != KafkaError._PARTITION_EOF:
                _log.warning("%s topic", self._topic, extra={"error": error.str()})
            elif not self.has_reached_end:
                unread_partitions.discard(source_partition(message)[1])
                if not unread_partitions:
                    self._on_first_end()
                    self._first_end.set()
        consumer.close()


def open_consumer(
    client: Mapping[str, Property], topic: str, deadline: float, error_type: type[Exception]
) -> tuple[Consumer, list[int]]:
    """Return a consumer that reads a topic from its beginning, and the topic's partitions.

    The consumer commits nothing, and reports the ends of partitions. Waits for the topic until
    `deadline`, by the monotonic clock (s). Raises `error_type`.
    """
    options = {
        "group.id": f"kairos.{topic}",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
    }
    consumer = Consumer({**client, **options})
    try:
        partitions = _wait_for_partitions(consumer, topic, deadline, error_type)
    except error_type:
        consumer.close()
        raise
    consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in partitions])
    return consumer, partitions


def _wait_for_partitions(
    consumer: Consumer, topic: str, deadline: float, error_type: type[Exception]
) -> list[int]:
    """Return the partitions of a topic, once it exists. Raises `error_type`."""
    while True:
        try:
            metadata = consumer.list_topics(topic, max(0.1, deadline - time.monotonic()))
        except KafkaException as error:
            raise error_type(f"no answer from Kafka: {error.args[0].str()}") from error
        if partitions := sorted(metadata.topics[topic].partitions):
            return partitions
        if time.monotonic() >= deadline:
            raise error_type(f"no topic {topic}: `kairos up` creates it")
        time.sleep(_RETRY_S)
