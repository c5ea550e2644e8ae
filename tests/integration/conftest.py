"""Fixtures of integration tests: a real broker in one home, and a whole stack in another."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from pipeline.settings import Settings
from tests.support.broker import running_broker
from tests.support.receiver import Receiver
from tests.support.stack import Stack, running_stack

_CONFIGURATION = Path(__file__).parent / "configuration"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.kafka)


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a home whose broker runs."""
    home = tmp_path_factory.mktemp("home")
    with running_broker(home) as bootstrap:
        yield Settings(home=home, bootstrap_servers=bootstrap)


@pytest.fixture(scope="session")
def bootstrap(settings: Settings) -> str:
    """Address of the broker, host:port."""
    assert settings.bootstrap_servers
    return settings.bootstrap_servers


@pytest.fixture
def prefix() -> str:
    """Prefix of the names (topics, groups) that one test makes in the shared broker."""
    return f"t{uuid.uuid4().hex[:8]}"


@pytest.fixture
def make_topic(bootstrap: str, prefix: str) -> Callable[..., str]:
    """Function that makes a topic of this test: `make_topic("in", partitions=4)` returns its full
    name."""
    admin = AdminClient({"bootstrap.servers": bootstrap})

    def make(name: str, partitions: int = 1, **config: str) -> str:
        topic = f"{prefix}.{name}"
        properties = {key.replace("_", "."): value for key, value in config.items()}
        request = NewTopic(topic, partitions, config=properties)
        admin.create_topics([request], operation_timeout=30)[topic].result()
        return topic

    return make


@pytest.fixture(scope="session")
def receiver() -> Iterator[Receiver]:
    """Receiver of the stack's webhooks."""
    with Receiver().listening() as receiver:
        yield receiver


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[Stack]:
    """Stack that several modules share: each test has customers of its own. The decision budget is
    long, so that no decision is late on a busy machine; the gateway's time-out for Kafka is short.
    """
    variables = {
        "TEST_RECEIVER": receiver.url,
        "TEST_SIGNING_SECRET": "test-signing-secret",
        "KAIROS_PARTITIONS": "3",
        "KAIROS_DECIDE_BUDGET_MS": "30000",
        "KAIROS_GATEWAY_TIMEOUT_MS": "3000",
    }
    home = tmp_path_factory.mktemp("stack")
    with running_stack(Stack(home, _CONFIGURATION, variables), "--workers", "four") as stack:
        yield stack
