"""Topics of Kairos: partitions, clean-up, retention and record size; creation of missing ones."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, TypeAlias

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource  # type: ignore[attr-defined]
from confluent_kafka.cimpl import NewTopic

from pipeline.adapters.cleaning import FOREVER, Cleaning, expiring_properties
from pipeline.model import sizes
from pipeline.model import topics as names
from pipeline.settings import Settings

MAX_RECORD_SETTING: Final = "max.message.bytes"
"""Topic property that limits the size of its records."""
TIMESTAMPS: Final = "message.timestamp.type"
"""Topic property for the clock of its records' timestamps."""
BROKER_TIME: Final = "LogAppendTime"
_DAY_H: Final = 24.0
_TIMEOUT_S: Final = 30.0
_BROKER_DEFAULT: Final = -1
_AUTHORIZATION_ERRORS: Final = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
)


class Partitioning(Enum):
    """Kind of key. Topics with the same kind are co-partitioned: same count, murmur2."""

    IDENTIFIER = "identifier"
    PROFILE = "profile"
    SINGLE = "single"


@dataclass(frozen=True, slots=True)
class Topic:
    """Topic as Kairos expects it.

    `retention_h`: hours that a record is kept from its append; None: compacted.
    """

    name: str
    partitioning: Partitioning
    retention_h: float | None

    def partition_count(self, settings: Settings) -> int:
        return 1 if self.partitioning is Partitioning.SINGLE else settings.partitions

    def config(self, settings: Settings) -> dict[str, str]:
        """Return Kafka's topic properties.

        Retention counts from the append: by the records' own times, a log that is replayed years
        later would be deleted at once.
        """
        properties = {
            TIMESTAMPS: BROKER_TIME,
            MAX_RECORD_SETTING: str(sizes.TOPIC),
        }
        hours = self.hours(settings)
        if hours is None:
            return {**properties, **Cleaning(settings.forget_hours).compacted_properties()}
        return {**properties, **expiring_properties(hours)}

    def hours(self, settings: Settings) -> float | None:
        """Return the retention of a record in hours; None: compacted."""
        if self.retention_h is None:
            return None
        return settings.retention_hours.get(self.name, self.retention_h)


TOPICS: Final = (
    Topic(names.INTERACTIONS, Partitioning.IDENTIFIER, 30 * _DAY_H),
    Topic(names.IDENTITIES, Partitioning.IDENTIFIER, 365 * _DAY_H),
    Topic(names.PROBES, Partitioning.IDENTIFIER, 1.0),
    Topic(names.IDENTIFIED, Partitioning.PROFILE, 7 * _DAY_H),
    Topic(names.ENRICHED, Partitioning.PROFILE, 7 * _DAY_H),
    Topic(names.SEGMENTED, Partitioning.PROFILE, 90 * _DAY_H),
    Topic(names.PROFILES, Partitioning.PROFILE, None),
    Topic(names.MEMBERSHIPS, Partitioning.PROFILE, None),
    Topic(names.SEGMENT_CHANGES, Partitioning.PROFILE, 90 * _DAY_H),
    Topic(names.DECISIONS, Partitioning.PROFILE, 90 * _DAY_H),
    Topic(names.REPLIES, Partitioning.SINGLE, 1.0),
    Topic(names.CONFIGURATION, Partitioning.SINGLE, FOREVER),
    Topic(names.LEARNING, Partitioning.SINGLE, None),
    Topic(names.CANCELLATIONS, Partitioning.PROFILE, 7 * _DAY_H),
    Topic(names.BUDGETS, Partitioning.SINGLE, None),
    Topic(names.COUPONS, Partitioning.IDENTIFIER, 365 * _DAY_H),
    Topic(names.DEAD_LETTERS, Partitioning.SINGLE, 30 * _DAY_H),
)
_ACTIONS_RETENTION_H: Final = 7 * _DAY_H


@dataclass(frozen=True, slots=True)
class PartitionMismatch:
    """Existing topic whose number of partitions is not the expected one."""

    topic: str
    expected_count: int
    actual_count: int

    def __str__(self) -> str:
        return (
            f"topic {self.topic} has {self.actual_count} partitions where "
            f"{self.expected_count} are expected: set KAIROS_PARTITIONS to the number that topics "
            "of its kind have, or use another cluster"
        )


@dataclass(frozen=True, slots=True)
class SizeMismatch:
    """Existing topic that refuses records as large as stages may write them."""

    topic: str
    expected_bytes: int
    actual_bytes: int

    def __str__(self) -> str:
        return (
            f"topic {self.topic} takes records of {self.actual_bytes} bytes where up to "
            f"{self.expected_bytes} are written: "
            f"set its {MAX_RECORD_SETTING} to {self.expected_bytes}"
        )


@dataclass(frozen=True, slots=True)
class TimeMismatch:
    """Existing topic whose records have their writers' timestamps.

    Stages rely on the broker's timestamps to expire event ids, to detect times in the future, and
    to find the records that a killed worker sent.
    """

    topic: str
    actual_type: str

    def __str__(self) -> str:
        return (
            f"topic {self.topic} has its writers' timestamps ({self.actual_type}) where the "
            f"broker's are needed: set its {TIMESTAMPS} to {BROKER_TIME}"
        )


Mismatch: TypeAlias = PartitionMismatch | SizeMismatch | TimeMismatch


@dataclass(frozen=True, slots=True)
class EnsuredTopics:
    """Result of `ensure_topics`."""

    new_topics: tuple[str, ...]
    mismatches: tuple[Mismatch, ...]


@dataclass(frozen=True, slots=True)
class ComparedTopics:
    """Names of missing topics, and topics with other properties than expected."""

    missing: tuple[str, ...]
    mismatches: tuple[Mismatch, ...]


def topics_for(channels: Iterable[str]) -> tuple[Topic, ...]:
    """Return all topics, with an action topic for each channel."""
    actions = (
        Topic(names.actions(channel), Partitioning.PROFILE, _ACTIONS_RETENTION_H)
        for channel in sorted(set(channels))
    )
    return (*TOPICS, *actions)


def ensure_topics(settings: Settings, channels: Iterable[str]) -> EnsuredTopics:
    """Create missing topics; leave existing ones as they are, and compare them.

    Raises KafkaException if the cluster cannot be reached or refuses.
    """
    expected_topics = topics_for(channels)
    admin = AdminClient({**settings.kafka(), "log_level": "0"})
    counts = _partition_counts(admin)
    missing_topics = [topic for topic in expected_topics if topic.name not in counts]
    new_topics = _create(admin, missing_topics, settings)
    return EnsuredTopics(new_topics, _mismatches(admin, expected_topics, counts, settings))


def compare_topics(settings: Settings, channels: Iterable[str]) -> ComparedTopics:
    """Compare existing topics with the expected ones, without changes. Raises KafkaException."""
    expected_topics = topics_for(channels)
    admin = AdminClient({**settings.kafka(), "log_level": "0"})
    counts = _partition_counts(admin)
    missing_names = tuple(topic.name for topic in expected_topics if topic.name not in counts)
    return ComparedTopics(missing_names, _mismatches(admin, expected_topics, counts, settings))


def max_record_bytes(admin: AdminClient, topics: Iterable[str]) -> dict[str, int]:
    """Return the largest size of a record by topic, without topics that may not be described.

    Raises KafkaException if the cluster cannot be reached.
    """
    properties_by_topic = _properties(admin, topics)
    return {
        name: int(properties[MAX_RECORD_SETTING])
        for name, properties in properties_by_topic.items()
    }


def _properties(admin: AdminClient, topics: Iterable[str]) -> dict[str, dict[str, str]]:
    resources = [ConfigResource(ConfigResource.Type.TOPIC, topic) for topic in topics]
    if not resources:
        return {}
    futures = admin.describe_configs(resources, request_timeout=_TIMEOUT_S)
    descriptions = (
        (resource.name, _result_unless_unauthorized(future)) for resource, future in futures.items()
    )
    return {
        name: {key: entry.value for key, entry in config.items()}
        for name, config in descriptions
        if config
    }


def _result_unless_unauthorized(future: Future[Any]) -> Any:
    try:
        return future.result()
    except KafkaException as error:
        if error.args[0].code() in _AUTHORIZATION_ERRORS:
            return None
        raise


def _mismatches(
    admin: AdminClient,
    expected_topics: Sequence[Topic],
    counts: Mapping[str, int],
    settings: Settings,
) -> tuple[Mismatch, ...]:
    existing_topics = [topic for topic in expected_topics if topic.name in counts]
    count_mismatches = (
        PartitionMismatch(topic.name, topic.partition_count(settings), counts[topic.name])
        for topic in existing_topics
        if counts[topic.name] != topic.partition_count(settings)
    )
    properties = _properties(admin, (topic.name for topic in existing_topics))
    size_mismatches = (
        SizeMismatch(name, sizes.TOPIC, limit)
        for name, config in properties.items()
        if (limit := int(config[MAX_RECORD_SETTING])) < sizes.TOPIC
    )
    time_mismatches = (
        TimeMismatch(name, kind)
        for name, config in properties.items()
        if (kind := config[TIMESTAMPS]) != BROKER_TIME
    )
    return (*count_mismatches, *size_mismatches, *time_mismatches)


def _partition_counts(admin: AdminClient) -> dict[str, int]:
    metadata = admin.list_topics(timeout=_TIMEOUT_S)
    return {name: len(topic.partitions) for name, topic in metadata.topics.items()}


def _create(admin: AdminClient, topics: list[Topic], settings: Settings) -> tuple[str, ...]:
    if not topics:
        return ()
    requests = [
        NewTopic(
            topic.name,
            num_partitions=topic.partition_count(settings),
            replication_factor=_BROKER_DEFAULT,
            config=topic.config(settings),
        )
        for topic in topics
    ]
    futures = admin.create_topics(requests, operation_timeout=_TIMEOUT_S)
    return tuple(name for name, future in futures.items() if _was_created(future))


def _was_created(future: Future[None]) -> bool:
    """Return False if another process created the topic first."""
    try:
        future.result()
    except KafkaException as error:
        if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return False
        raise
    return True
