"""Follower of the topic `learning`: the newest snapshot of posteriors."""

from collections.abc import Callable, Mapping
from threading import Lock, Thread
from typing import Final

import structlog
from confluent_kafka import Consumer, KafkaError, TopicPartition

from pipeline.adapters.avro import Codec
from pipeline.adapters.kafka import Property
from pipeline.adapters.snapshots import scan
from pipeline.model import topics
from pipeline.model.learning import SNAPSHOT, LearningRecord
from pipeline.rules.knowledge import EMPTY, Knowledge, knowledge_of

_BATCH: Final = 100
_POLL_S: Final = 0.2
_STOP_S: Final = 5.0

_log = structlog.get_logger(__name__)


def newest_snapshot(client: Mapping[str, Property], codec: Codec) -> LearningRecord | None:
    """Return the newest snapshot in the topic; None before the first. Raises KafkaException."""
    found = None
    for stored in scan(client, topics.LEARNING):
        if stored.key == SNAPSHOT and stored.value is not None:
            found = _decode(codec, stored.value) or found
    return found


def newest_knowledge(client: Mapping[str, Property], codec: Codec) -> Knowledge:
    """Return the newest knowledge, which is empty before the first snapshot."""
    record = newest_snapshot(client, codec)
    return EMPTY if record is None else knowledge_of(record)


class KnowledgeFollower:
    """Newest knowledge, read by a thread from the first question on. Thread-safe.

    `on_change` is called in that thread after a new snapshot.
    """

    def __init__(self, client: Mapping[str, Property], codec: Codec) -> None:
        self._client = dict(client)
        self._codec = codec
        self.on_change: Callable[[], None] = lambda: None
        self._latest = EMPTY
        self._number = 0
        self._lock = Lock()
        self._stopping = False
        self._thread: Thread | None = None

    def latest(self) -> Knowledge:
        """Return the newest knowledge; the first call reads the topic. Raises KafkaException."""
        with self._lock:
            if self._thread is None:
                self._take(newest_snapshot(self._client, self._codec))
                self._thread = Thread(target=self._follow, name="learning", daemon=True)
                self._thread.start()
            return self._latest

    def stop(self) -> None:
        """Stop reading."""
        self._stopping = True
        if self._thread is not None:
            self._thread.join(_STOP_S)

    def _follow(self) -> None:
        consumer = Consumer(
            {
                **self._client,
                "group.id": "kairos.knowledge",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
            }
        )
        consumer.assign([TopicPartition(topics.LEARNING, 0, 0)])
        while not self._stopping:
            newest = None
            for message in consumer.consume(_BATCH, _POLL_S):
                error = message.error()
                if error is not None:
                    if error.code() != KafkaError._PARTITION_EOF:
                        _log.warning("learning topic", error=error.str())
                elif message.key() == SNAPSHOT.encode():
                    newest = _decode(self._codec, message.value() or b"") or newest
            if self._take(newest):
                self.on_change()
        consumer.close()

    def _take(self, record: LearningRecord | None) -> bool:
        """Take a snapshot; return False if it is none, or no newer one."""
        if record is None or record.number <= self._number:
            return False
        self._latest, self._number = knowledge_of(record), record.number
        return True


def _decode(codec: Codec, value: bytes) -> LearningRecord | None:
    record = codec.decode(topics.LEARNING, value)
    if isinstance(record, LearningRecord):
        return record
    _log.error("unreadable snapshot", reason=str(record))
    return None
