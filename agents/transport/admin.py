"""Creates topics and tells their partition counts."""

from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

_TIMEOUT_S = 30.0


class TopicAdmin:
    """Blocking calls; results that cannot change for the worse are remembered."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._client = AdminClient(dict(settings))
        self._partitions: dict[str, int] = {}

    def create(
        self, topic: str, partitions: int, replication: int, config: Mapping[str, str]
    ) -> None:
        """Create `topic` unless it exists. Raises KafkaException, ValueError on another count."""
        new = NewTopic(topic, partitions, replication, config=dict(config))
        try:
            self._client.create_topics([new], operation_timeout=_TIMEOUT_S)[topic].result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
            self._check(topic, partitions)

    def partitions(self, topic: str) -> int:
        """Return the number of partitions of `topic`. Raises KafkaException when it has none."""
        known = self._partitions.get(topic)
        if known is None:
            metadata = self._client.list_topics(topic, timeout=_TIMEOUT_S).topics[topic]
            if metadata.error is not None:
                raise KafkaException(metadata.error)
            known = self._partitions[topic] = len(metadata.partitions)
        return known

    def _check(self, topic: str, partitions: int) -> None:
        actual = self.partitions(topic)
        if actual != partitions:
            raise ValueError(
                f"topic {topic} has {actual} partitions, not {partitions}: "
                "delete it or set the number of partitions to what it has"
            )
