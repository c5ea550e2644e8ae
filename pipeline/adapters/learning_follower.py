"""Follower of the topic `learning`: the newest record of each key."""

import logging
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from confluent_kafka import Message

from pipeline.adapters.avro import Codec, MalformedRecord
from pipeline.adapters.kafka import Property
from pipeline.adapters.topic_follower import TopicFollower
from pipeline.model import topics
from pipeline.model.learning import LearningRecord

OnRecord: TypeAlias = Callable[[str, LearningRecord | None], None]
"""Function that takes a key and its newest record, None for a tombstone."""

_START_S: Final = 30.0

_log = logging.getLogger(__name__)


class LearningLogError(Exception):
    """Raised when the topic cannot be read or written; the message names the remedy."""


class LearningFollower:
    """Follower of the topic, whose thread calls `on_record` with each record. Thread-safe.

    Up to the topic's present end, only the newest record of a key is passed on.
    """

    def __init__(
        self, client: Mapping[str, Property], codec: Codec, on_record: OnRecord | None = None
    ) -> None:
        self._codec = codec
        self._on_record = on_record
        self._records: dict[str, LearningRecord] = {}
        self._follower = TopicFollower(
            client, topics.LEARNING, LearningLogError, self._add, self._pass_on_first_records
        )

    def start(self, timeout_s: float = _START_S) -> None:
        """Return once the topic is read to its end. Raises LearningLogError."""
        self._follower.start(timeout_s)

    def stop(self) -> None:
        """Stop reading."""
        self._follower.stop()

    def newest_records(self) -> dict[str, LearningRecord]:
        """Return the newest record of each key."""
        return dict(self._records)

    def _pass_on_first_records(self) -> None:
        if self._on_record is not None:
            for key, record in self._records.items():
                self._on_record(key, record)

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
        if self._follower.has_reached_end and self._on_record is not None:
            self._on_record(key, record)
