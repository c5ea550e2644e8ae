"""Creation of topics, checks of existing ones, and partition counts."""

import time
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from pipeline.adapters.transient import is_transient
from pipeline.home.topics import MAX_RECORD_SETTING, max_record_bytes

_TIMEOUT_S = 30.0
_RETRY_S = 0.05


class TopicAdmin:
    """Admin client with blocking calls; partition counts are cached."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._client = AdminClient(dict(settings))
        self._partition_counts: dict[str, int] = {}

    def create(
        self, topic: str, partition_count: int, replication: int, config: Mapping[str, str]
    ) -> None:
        """Create `topic` unless it exists.

        Raises KafkaException, and ValueError if it has another number of partitions or a smaller
        record limit.
        """
        new_topic = NewTopic(topic, partition_count, replication, config=dict(config))
        try:
            self._client.create_topics([new_topic], operation_timeout=_TIMEOUT_S)[topic].result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
            self._check_partition_count(topic, partition_count)
            self._check_record_limit(topic, int(config.get(MAX_RECORD_SETTING, 0)))

    def partition_count(self, topic: str) -> int:
        """Return the number of partitions of `topic`. Raises KafkaException if it is missing."""
        count = self._partition_counts.get(topic)
        if count is None:
            count = self._partition_counts[topic] = self._request_partition_count(topic)
        return count

    def _request_partition_count(self, topic: str) -> int:
        """Request the number of partitions, repeatedly until the broker has the topic."""
        deadline = time.monotonic() + _TIMEOUT_S
        while True:
            metadata = self._client.list_topics(topic, timeout=_TIMEOUT_S).topics[topic]
            if metadata.error is None:
                return len(metadata.partitions)
            if not is_transient(metadata.error) or time.monotonic() > deadline:
                raise KafkaException(metadata.error)
            time.sleep(_RETRY_S)

    def _check_partition_count(self, topic: str, partition_count: int) -> None:
        actual_count = self.partition_count(topic)
        if actual_count != partition_count:
            raise ValueError(
                f"topic {topic} has {actual_count} partitions, not {partition_count}: "
                "delete it or set KAIROS_PARTITIONS to that number"
            )

    def _check_record_limit(self, topic: str, needed_bytes: int) -> None:
        actual_bytes = max_record_bytes(self._client, [topic]).get(topic, needed_bytes)
        if actual_bytes < needed_bytes:
            raise ValueError(
                f"topic {topic} takes records of {actual_bytes} bytes, but records of up to "
                f"{needed_bytes} are written: set its {MAX_RECORD_SETTING} to that number"
            )
