"""Follower of the topic `cancellations`: actions that adapters must no longer deliver."""

import logging
from collections.abc import Mapping
from typing import Final

from confluent_kafka import Message

from pipeline.adapters import bounded
from pipeline.adapters.avro import Codec
from pipeline.adapters.kafka import Property
from pipeline.adapters.topic_follower import TopicFollower
from pipeline.model import topics
from pipeline.model.decision import Cancellation

_MAX_REASONS: Final = 200_000
"""Maximum number of cancellations in memory, the latest ones; fewer actions await delivery."""

_log = logging.getLogger(__name__)


class CancellationLogError(Exception):
    """Raised when the topic cannot be read; the message names the remedy."""


class CancellationFollower:
    """Follower of cancelled actions, which a thread reads. Thread-safe."""

    def __init__(self, client: Mapping[str, Property], codec: Codec) -> None:
        self._codec = codec
        self._reasons: dict[str, str] = {}
        self._follower = TopicFollower(
            client, topics.CANCELLATIONS, CancellationLogError, self._add
        )

    def start(self, timeout_s: float) -> None:
        """Return once the topic is read to its end. Raises CancellationLogError."""
        self._follower.start(timeout_s)

    def stop(self) -> None:
        """Stop reading."""
        self._follower.stop()

    def reason(self, action_id: str) -> str | None:
        """Return the reason for which an action was cancelled; None: it was not cancelled."""
        return self._reasons.get(action_id)

    def _add(self, message: Message) -> None:
        value = message.value()
        record = None if value is None else self._codec.decode(topics.CANCELLATIONS, value)
        if not isinstance(record, Cancellation):
            _log.error("unreadable cancellation", extra={"at": message.offset()})
        elif record.action_id is not None:
            bounded.put(self._reasons, record.action_id, record.why, _MAX_REASONS)
