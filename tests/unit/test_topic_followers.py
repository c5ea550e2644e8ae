"""Followers of a topic go on after an error that librdkafka reports while it reads."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from confluent_kafka import KafkaError, Message

from pipeline.adapters import topic_follower
from pipeline.adapters.avro import Codec, recorded_versions
from pipeline.adapters.cancellation_follower import CancellationFollower
from pipeline.adapters.learning_follower import LearningFollower
from pipeline.model import topics
from pipeline.model.decision import Cancellation
from pipeline.model.learning import SNAPSHOT, LearningRecord

_TIMEOUT_S: Final = 30.0
_CODEC: Final = Codec(recorded_versions())


@dataclass
class _Metadata:
    partitions: dict[int, None] = field(default_factory=lambda: {0: None})


@dataclass
class _TopicList:
    topics: dict[str, _Metadata]


class _ScriptedClient:
    """Stand-in for librdkafka's consumer of one partition, which returns the given messages."""

    def __init__(self, topic: str, *messages: Message) -> None:
        self._topic = topic
        self._messages = list(messages)

    def list_topics(self, topic: str, timeout: float) -> _TopicList:
        return _TopicList({self._topic: _Metadata()})

    def assign(self, partitions: object) -> None:
        """Read the script from its beginning."""

    def poll(self, timeout: float) -> Message | None:
        return self._messages.pop(0) if self._messages else None

    def close(self) -> None:
        """Release nothing: the stand-in holds no resources."""


def _script(topic: str, key: str, value: bytes | None) -> Callable[[Any], _ScriptedClient]:
    client = _ScriptedClient(
        topic,
        _message(topic, error=KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)),
        _message(topic, key=key.encode(), value=value, offset=0),
        _message(topic, error=KafkaError(KafkaError._PARTITION_EOF)),
    )
    return lambda _: client


def _message(topic: str, **parts: Any) -> Message:
    return Message(topic=topic, partition=0, **parts)


def test_learning_is_read_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = LearningRecord(1, "digest", 0)
    script = _script(topics.LEARNING, SNAPSHOT, _CODEC.encode(topics.LEARNING, snapshot))
    monkeypatch.setattr(topic_follower, "Consumer", script)
    follower = LearningFollower({}, _CODEC)
    follower.start(_TIMEOUT_S)
    follower.stop()
    assert follower.newest_records() == {SNAPSHOT: snapshot}


def test_cancellations_are_read_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    cancellation = Cancellation("p", "a-1", "c", "o", "t", "email", 0, "complained")
    value = _CODEC.encode(topics.CANCELLATIONS, cancellation)
    script = _script(topics.CANCELLATIONS, "p", value)
    monkeypatch.setattr(topic_follower, "Consumer", script)
    follower = CancellationFollower({}, _CODEC)
    follower.start(_TIMEOUT_S)
    follower.stop()
    assert follower.reason("a-1") == "complained"
