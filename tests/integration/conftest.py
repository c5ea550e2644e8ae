"""One real broker for all integration tests, in a home of its own on a free port."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from pipeline.adapters.broker import Broker, BrokerFailure, BrokerOptions
from pipeline.settings import Settings


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.kafka)


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a home whose broker runs."""
    home = tmp_path_factory.mktemp("home")
    broker = Broker(BrokerOptions(home, Settings().cache_dir, port=0))
    running = broker.start()
    if isinstance(running, BrokerFailure):
        pytest.fail(running.message)
    yield Settings(home=home, bootstrap_servers=running.bootstrap)
    broker.stop()


@pytest.fixture(scope="session")
def bootstrap(settings: Settings) -> str:
    """Address of the broker, host:port."""
    assert settings.bootstrap_servers
    return settings.bootstrap_servers


@pytest.fixture
def prefix() -> str:
    """Begins the names of what one test makes in the shared broker (topics, groups)."""
    return f"t{uuid.uuid4().hex[:8]}"


@pytest.fixture
def new_topic(bootstrap: str, prefix: str) -> Callable[..., str]:
    """Makes a topic of this test: `new_topic("in", partitions=4)` returns its full name."""
    admin = AdminClient({"bootstrap.servers": bootstrap})

    def make(name: str, partitions: int = 1, **config: str) -> str:
        topic = f"{prefix}.{name}"
        properties = {key.replace("_", "."): value for key, value in config.items()}
        request = NewTopic(topic, partitions, config=properties)
        admin.create_topics([request], operation_timeout=30)[topic].result()
        return topic

    return make
