"""No trace of a forgotten person is left once the time that the command states is over."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from pipeline.adapters.avro import Codec, recorded_versions
from pipeline.adapters.clock import now_ms
from pipeline.adapters.config_log import open_configuration_log
from pipeline.adapters.consumer_groups import stage_groups
from pipeline.adapters.lag import LagReader
from pipeline.home.topics import TOPICS, ensure_topics
from pipeline.identity import requests
from pipeline.identity.record_factory import profile_of
from pipeline.model import topics
from pipeline.model.interaction import Context, Identifier, Interaction
from pipeline.profile_reads.identity_requests import request_and_wait
from pipeline.settings import Settings, kafka_properties
from tests.support.broker import running_broker
from tests.support.offers import offering_rules

_HOUR_S: Final = 3_600
_FORGET_S: Final = 40
_RETENTION_S: Final = 15
_PATIENCE_S: Final = 200
_ADA: Final = ("customer_id:ada-4711", "email:ada.lovelace@example.com", "cookie:cookie-of-ada")
_TRACES: Final = (
    b"ada-4711",
    b"ada.lovelace",
    b"cookie-of-ada",
    b"203.0.113.77",
    profile_of(_ADA[0]).encode(),
)
_FOLDERS: Final = ("state", "ledgers", "log", "artifacts")


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    with running_broker(tmp_path) as bootstrap:
        hours = {
            topic.name: _RETENTION_S / _HOUR_S for topic in TOPICS if topic.retention_h is not None
        }
        hours |= {topics.actions(channel): _RETENTION_S / _HOUR_S for channel in ("web", "email")}
        del hours[topics.CONFIGURATION]
        yield Settings(
            home=tmp_path,
            bootstrap_servers=bootstrap,
            partitions=2,
            retention_hours=hours,
            forget_hours=_FORGET_S / _HOUR_S,
            kafka_properties=kafka_properties({}),
        )


@pytest.fixture
def worker(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    ensure_topics(settings, ["web", "email"])
    with open_configuration_log(settings.kafka(), Codec(recorded_versions())) as log:
        log.apply(offering_rules().config.bundle, "test")
    for name in ("home", "bootstrap_servers", "partitions", "forget_hours"):
        monkeypatch.setenv(f"KAIROS_{name.upper()}", str(getattr(settings, name)))
    command = [sys.executable, "-m", "pipeline.cli", "worker", "all"]
    process = subprocess.Popen(command, start_new_session=True)
    yield
    process.terminate()
    process.wait(30)


@pytest.mark.chaos  # waits until Kafka and RocksDB have cleaned their files
@pytest.mark.timeout(400)
@pytest.mark.usefixtures("worker")
def test_nothing_is_left_of_a_forgotten_person_after_the_stated_time(settings: Settings) -> None:
    # No topic, changelogs included, and no file of the home but Kafka's own has a trace.
    _send(settings, "1", "203.0.113.77", *_ADA)
    _send(settings, "2", "192.0.2.1", "customer_id:bob", "email:bob@example.com")
    LagReader(settings.kafka(), stage_groups()).wait_until_idle(timeout_s=60)
    assert _find_leaks(settings) >= {
        f"kairos.{name}-rows-changelog" for name in ("identity", "enrichment")
    }
    assert request_and_wait(settings, requests.forget(Identifier.parse(_ADA[1]), now_ms()))
    deadline_s = time.monotonic() + _PATIENCE_S
    while (leaks := _find_leaks(settings)) and time.monotonic() < deadline_s:
        time.sleep(2)
    assert leaks == set()
    assert b"bob" in b"".join(_read_records(settings, "profiles"))


def _send(settings: Settings, event_id: str, ip: str, *names: str) -> None:
    time_ms, identifiers = now_ms(), tuple(map(Identifier.parse, names))
    context = Context(ip=ip)
    interaction = Interaction(
        event_id, "track", "Order", "web", "shop", time_ms, time_ms, identifiers, {}, context
    )
    producer = Producer({**settings.kafka(), "partitioner": "murmur2_random"})
    value = Codec(recorded_versions()).encode(topics.INTERACTIONS, interaction)
    producer.produce(topics.INTERACTIONS, value, interaction.identifiers[0].key)
    producer.flush()


def _find_leaks(settings: Settings) -> set[str]:
    """Return the topics and files that have a trace of the person."""
    names = AdminClient(settings.kafka()).list_topics(timeout=10).topics
    leaks = {
        name
        for name in names
        if not name.startswith("__")
        and any(trace in record for record in _read_records(settings, name) for trace in _TRACES)
    }
    for folder in _FOLDERS:
        for path in (settings.home / folder).rglob("*"):
            if path.is_file() and any(trace in path.read_bytes() for trace in _TRACES):
                leaks.add(str(path.relative_to(settings.home)))
    return leaks


def _read_records(settings: Settings, topic: str) -> list[bytes]:
    """Return key, value and headers of each record that Kafka still has."""
    consumer = Consumer({**settings.kafka(), "group.id": "reader", "enable.auto.commit": False})
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        values: list[bytes] = []
        for partition in partitions:
            offset, end = consumer.get_watermark_offsets(
                TopicPartition(topic, partition), timeout=10
            )
            consumer.assign([TopicPartition(topic, partition, offset)])
            while offset < end:
                message = consumer.poll(10.0)
                if message is None:  # the last record was removed meanwhile
                    break
                offset = (message.offset() or 0) + 1
                pairs: Any = message.headers() or ()
                headers = b"".join(value or b"" for _, value in pairs)
                values.append((message.key() or b"") + (message.value() or b"") + headers)
        return values
    finally:
        consumer.close()
