"""Lag of groups, read from a new broker, and from one that was killed and came back."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from pipeline.adapters.broker import Broker, BrokerOptions, RunningBroker
from pipeline.adapters.kafka import Property
from pipeline.adapters.lag import ConsumerGroup, LagReader
from pipeline.settings import Settings
from tests.support.chain import produce

_RECORDS = 10
_COMMITTED_OFFSET = 7
_LAG_LINE = f"{{{_RECORDS - _COMMITTED_OFFSET}}}\n"
_GROUPS = [f"group-{number}" for number in range(20)]
_READER_PROGRAM = """
import sys
from confluent_kafka import KafkaException
from pipeline.adapters.lag import ConsumerGroup, LagReader

groups = [ConsumerGroup(name, ("there",)) for name in sys.argv[2:]]
reader = LagReader({"bootstrap.servers": sys.argv[1]}, groups)
for _ in sys.stdin:
    lags = None
    while lags is None:
        try:
            lags = set(reader.lag().values())
        except KafkaException:
            pass
    print(lags, flush=True)
"""


@pytest.mark.long
def test_lag_is_read_from_a_new_coordinator_and_from_one_that_comes_back(tmp_path: Path) -> None:
    broker = Broker(BrokerOptions(tmp_path, Settings().cache_dir, port=0))
    try:
        process = _start(broker)
        admin = AdminClient({"bootstrap.servers": process.bootstrap})
        admin.create_topics([NewTopic("there", 1)], operation_timeout=30)["there"].result()
        produce(process.bootstrap, "there", [(b"k", b"x")] * _RECORDS)
        for group in _GROUPS:
            _commit(
                {"bootstrap.servers": process.bootstrap},
                group,
                TopicPartition("there", 0, _COMMITTED_OFFSET),
            )
        reader = subprocess.Popen(
            [sys.executable, "-c", _READER_PROGRAM, process.bootstrap, *_GROUPS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert _read_answer(reader) == _LAG_LINE
        for _ in range(2):
            os.kill(process.pid, signal.SIGKILL)
            process = _start(broker)
            assert _read_answer(reader) == _LAG_LINE
        reader.communicate()
        assert reader.returncode == 0
    finally:
        broker.stop()


def test_lag_counts_uncommitted_records_and_the_reader_joins_no_group(
    settings: Settings, prefix: str, make_topic: Callable[..., str]
) -> None:
    topic, group = make_topic("in", partitions=2), f"{prefix}.group"
    _write(settings, topic, (0, 0, 0, 1))
    reader = LagReader(settings.kafka(), [ConsumerGroup(group, (topic,))])
    assert reader.lag() == {group: 4}
    consumer = Consumer({**settings.kafka(), "group.id": group})
    consumer.commit(offsets=[TopicPartition(topic, 0, 2)], asynchronous=False)
    assert reader.lag() == {group: 2}
    admin = AdminClient(settings.kafka())
    assert admin.describe_consumer_groups([group])[group].result().members == []
    consumer.commit(
        offsets=[TopicPartition(topic, 0, 3), TopicPartition(topic, 1, 1)], asynchronous=False
    )
    assert reader.lag() == {group: 0}
    assert reader.wait_until_idle(timeout_s=0)
    consumer.close()


def test_records_deleted_before_their_commit_are_no_lag(
    settings: Settings, prefix: str, make_topic: Callable[..., str]
) -> None:
    topic, group = make_topic("in", partitions=2), f"{prefix}.group"
    _write(settings, topic, (0, 0, 0, 1, 1))
    reader = LagReader(settings.kafka(), [ConsumerGroup(group, (topic,))])
    _delete_records(settings, TopicPartition(topic, 0, 2))
    assert reader.lag() == {group: 3}
    assert not reader.is_idle()
    assert not reader.wait_until_passed(timeout_s=0)
    _commit(settings.kafka(), group, TopicPartition(topic, 1, 2))
    _delete_records(settings, TopicPartition(topic, 0, 3))
    assert reader.lag() == {group: 0}
    assert reader.is_idle()
    assert reader.wait_until_passed(timeout_s=0)


def _write(settings: Settings, topic: str, partitions: Iterable[int]) -> None:
    """Write a record for each item of `partitions`, to that partition."""
    producer = Producer(settings.kafka())
    for partition in partitions:
        producer.produce(topic, b"", partition=partition)
    assert producer.flush(30) == 0


def _commit(kafka: Mapping[str, Property], group: str, offset: TopicPartition) -> None:
    consumer = Consumer({**kafka, "group.id": group})
    consumer.commit(offsets=[offset], asynchronous=False)
    consumer.close()


def _delete_records(settings: Settings, end: TopicPartition) -> None:
    admin = AdminClient(settings.kafka())
    admin.delete_records([end], operation_timeout=30)[end].result()


def _start(broker: Broker) -> RunningBroker:
    process = broker.start()
    assert isinstance(process, RunningBroker), process
    return process


def _read_answer(reader: subprocess.Popen[str]) -> str:
    assert reader.stdin
    assert reader.stdout
    reader.stdin.write("\n")
    reader.stdin.flush()
    return reader.stdout.readline()
