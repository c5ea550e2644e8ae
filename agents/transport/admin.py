"""Creation of topics, checks of existing ones, and partition counts."""

import time
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from pipeline.adapters.transient import is_transient
from pipeline.home.topics import LARGEST_RECORD, max_record_bytes

_TIMEOUT_S = 30.0
_RETRY_S = 0.05


class TopicAdmin:
    """Admin client with blocking calls; partition counts are cached."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._client = AdminClient(dict(settings))
        self._partitions: dict[str, int] = {}

    def create(
        self, topic: str, partitions: int, replication: int, config: Mapping[str, str]
    ) -> None:
        """Create `topic` unless it exists.

        Raises KafkaException, and ValueError if it has another number of partitions or a smaller
        record limit.
        """
        new = NewTopic(topic, partitions, replication, config=dict(config))
        try:
            self._client.create_topics([new], operation_timeout=_TIMEOUT_S)[topic].result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
            self._check_partitions(topic, partitions)
            self._check_size(topic, int(config.get(LARGEST_RECORD, 0)))

    def partitions(self, topic: str) -> int:
        """Return the number of partitions of `topic`. Raises KafkaException if it is missing."""
        count = self._partitions.get(topic)
        if count is None:
            count = self._partitions[topic] = self._ask_partitions(topic)
        return count

    def _ask_partitions(self, topic: str) -> int:
        """Request the number of partitions, repeatedly until the broker has the topic."""
        give_up_at = time.monotonic() + _TIMEOUT_S
        while True:
            metadata = self._client.list_topics(topic, timeout=_TIMEOUT_S).topics[topic]
            if metadata.error is None:
                return len(metadata.partitions)
            if not is_transient(metadata.error) or time.monotonic() > give_up_at:
                raise KafkaException(metadata.error)
            time.sleep(_RETRY_S)

    def _check_partitions(self, topic: str, partitions: int) -> None:
        actual = self.partitions(topic)
        if actual != partitions:
            raise ValueError(
                f"topic {topic} has {actual} partitions, not {partitions}: "
                "delete it or set KAIROS_PARTITIONS to that number"
            )

    def _check_size(self, topic: str, needed_bytes: int) -> None:
        actual = max_record_bytes(self._client, [topic]).get(topic, needed_bytes)
        if actual < needed_bytes:
            raise ValueError(
                f"topic {topic} takes records of {actual} bytes, but records of up to "
                f"{needed_bytes} are written: set its {LARGEST_RECORD} to that number"
            )
