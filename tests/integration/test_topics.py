"""Topics are created as the table says; an existing one is compared, never changed."""

from collections.abc import Iterator

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined]
from confluent_kafka.cimpl import NewTopic

from pipeline.home.topics import (
    PartitionMismatch,
    SizeMismatch,
    TimeMismatch,
    ensure_topics,
    topics_for,
)
from pipeline.model import sizes
from pipeline.settings import Settings
from tests.support.broker import running_broker
from tests.support.chain import eventually


@pytest.fixture(scope="module")
def cluster_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of an empty cluster of its own, since the topics' names are fixed."""
    home = tmp_path_factory.mktemp("topics")
    with running_broker(home) as bootstrap:
        yield Settings(
            home=home,
            bootstrap_servers=bootstrap,
            partitions=3,
            retention_hours={"decisions": 2, "replies": -1},
        )


def partition_counts(settings: Settings) -> dict[str, int]:
    topics = AdminClient(settings.kafka()).list_topics(timeout=30).topics
    return {name: len(topic.partitions) for name, topic in topics.items()}


def config_of(settings: Settings, topic: str) -> dict[str, str]:
    resource = ConfigResource(ResourceType.TOPIC, topic)
    admin = AdminClient(settings.kafka())  # a reference, since the client must outlive its future
    [future] = admin.describe_configs([resource]).values()
    return {name: entry.value for name, entry in future.result().items()}


def test_missing_topics_are_created_and_others_reported(cluster_settings: Settings) -> None:
    admin = AdminClient(cluster_settings.kafka())
    time_config = {"message.timestamp.type": "LogAppendTime"}
    decisions = NewTopic("decisions", 5, config=time_config)
    memberships = NewTopic("memberships", 3, config={**time_config, "max.message.bytes": "1000000"})
    identities = NewTopic("identities", 3, config={"max.message.bytes": str(sizes.TOPIC)})
    creations = admin.create_topics([decisions, memberships, identities], operation_timeout=30)
    for creation in creations.values():
        creation.result()
    # The broker's own view of its topics may be a moment behind the controller's.
    eventually(
        lambda: (
            {"decisions", "memberships", "identities"} <= partition_counts(cluster_settings).keys()
        )
    )

    report = ensure_topics(cluster_settings, ["web", "email", "web"])

    expected = {
        topic.name: topic.partition_count(cluster_settings)
        for topic in topics_for(["web", "email"])
    }
    assert set(report.new_topics) == set(expected) - {"decisions", "memberships", "identities"}
    assert report.mismatches == (
        PartitionMismatch("decisions", expected_count=3, actual_count=5),
        SizeMismatch("memberships", expected_bytes=sizes.TOPIC, actual_bytes=1_000_000),
        TimeMismatch("identities", actual_type="CreateTime"),
    )
    eventually(lambda: partition_counts(cluster_settings) == {**expected, "decisions": 5})
    assert ensure_topics(cluster_settings, ["web", "email"]).new_topics == ()


def test_clean_up_and_retention_follow_the_table_and_the_setting(
    cluster_settings: Settings,
) -> None:
    ensure_topics(cluster_settings, [])
    assert config_of(cluster_settings, "profiles")["cleanup.policy"] == "compact"
    assert config_of(cluster_settings, "interactions")["retention.ms"] == str(30 * 24 * 3_600_000)
    assert config_of(cluster_settings, "interactions")["message.timestamp.type"] == "LogAppendTime"
    assert config_of(cluster_settings, "replies")["retention.ms"] == "-1"
    assert config_of(cluster_settings, "profiles")["max.message.bytes"] == str(sizes.TOPIC)


def test_partitioned_topics_share_one_partition_count(cluster_settings: Settings) -> None:
    counts = {
        topic.partition_count(cluster_settings)
        for topic in topics_for(["web"])
        if topic.partition_count(cluster_settings) > 1
    }
    assert counts == {3}
