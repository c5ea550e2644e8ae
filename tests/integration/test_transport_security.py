"""SASL and TLS settings reach every client: the broker's listener asks for both."""

import datetime
import ipaddress
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import sample

import msgspec
import psutil
import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pipeline.adapters.broker import Broker, BrokerFailure, BrokerOptions
from pipeline.adapters.broker.options import BrokerFiles
from pipeline.adapters.broker.ports import is_free
from pipeline.settings import Settings, kafka_variable
from tests.support.chain import (
    Worker,
    eventually,
    has_committed_all,
    produce,
    read_all,
    workers,
)
from tests.support.chain_worker import Plan
from tests.support.receiver import Receiver
from tests.support.stack import Stack, running_stack

pytestmark = pytest.mark.long

_PASSWORD = "a secret"
_EMAIL = "tls@example.com"
_CONFIGURATION = Path(__file__).parent / "configuration"


@dataclass(frozen=True)
class SecureBroker:
    """Addresses of a broker's plain listener and of the listener that authenticates clients;
    `properties`: settings of clients of the secure listener."""

    plain_address: str
    secure_address: str
    properties: Mapping[str, str]


@pytest.fixture(scope="module")
def secure_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureBroker]:
    home = tmp_path_factory.mktemp("secured")
    certificate = _make_certificate(home)
    broker = Broker(BrokerOptions(home, Settings().cache_dir, port=0))
    status = broker.start()
    if isinstance(status, BrokerFailure):
        pytest.fail(status.message)
    command = psutil.Process(status.pid).cmdline()
    broker.stop()
    port = next(port for port in sample(range(20_000, 32_000), 100) if is_free(port))
    _add_listener(BrokerFiles.under(home).properties, home / "server.pem", port)
    process = subprocess.Popen(command, start_new_session=True)
    plain_address = status.bootstrap
    eventually(lambda: _is_answering({"bootstrap.servers": plain_address}))
    properties = {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "kairos",
        "sasl.password": _PASSWORD,
        "ssl.ca.location": str(certificate),
    }
    yield SecureBroker(plain_address, f"127.0.0.1:{port}", properties)
    process.terminate()
    process.wait(120)


def _add_listener(properties_path: Path, key_store: Path, port: int) -> None:
    properties = properties_path.read_text().splitlines()
    lines = dict(line.split("=", 1) for line in properties if line and not line.startswith("#"))
    listener = f",SECURE://127.0.0.1:{port}"
    lines["listeners"] += listener
    lines["advertised.listeners"] += listener
    lines["listener.security.protocol.map"] += ",SECURE:SASL_SSL"
    lines |= {
        "listener.name.secure.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.secure.plain.sasl.jaas.config": (
            "org.apache.kafka.common.security.plain.PlainLoginModule required "
            f'user_kairos="{_PASSWORD}";'
        ),
        "listener.name.secure.ssl.keystore.type": "PEM",
        "listener.name.secure.ssl.keystore.location": str(key_store),
    }
    properties_path.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))


def _make_certificate(folder: Path) -> Path:
    """Make a self-signed certificate, and `server.pem` with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    day = datetime.timedelta(days=1)
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "server.pem").write_bytes(secret + certificate)
    (folder / "ca.pem").write_bytes(certificate)
    return folder / "ca.pem"


def _is_answering(client: Mapping[str, str]) -> bool:
    try:
        AdminClient(dict(client)).list_topics(timeout=1)
    except KafkaException:
        return False
    return True


def _is_reached(count: Callable[[], int], minimum: int) -> bool:
    return count() >= minimum


@pytest.fixture
def plan(secure_broker: SecureBroker, prefix: str, tmp_path: Path) -> Plan:
    admin = AdminClient({"bootstrap.servers": secure_broker.plain_address})
    names = [f"{prefix}.0", f"{prefix}.1"]
    for creation in admin.create_topics([NewTopic(name, 2) for name in names]).values():
        creation.result()
    return Plan(
        bootstrap=secure_broker.secure_address,
        home=str(tmp_path),
        prefix=prefix,
        partitions=2,
        hops=1,
        librdkafka=dict(secure_broker.properties),
    )


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[Plan], Worker]]:
    with workers(tmp_path) as start_worker:
        yield start_worker


def test_worker_reads_writes_and_restores_over_tls_as_a_known_user(
    plan: Plan, secure_broker: SecureBroker, start: Callable[[Plan], Worker], tmp_path: Path
) -> None:
    def count_outputs() -> int:
        return len(read_all(secure_broker.plain_address, f"{plan.prefix}.1", 2))

    plain_plan = msgspec.structs.replace(plan, bootstrap=secure_broker.plain_address)
    for life in (1, 2):
        worker = start(plan)
        worker.wait_until_ready()
        produce(
            secure_broker.plain_address,
            f"{plan.prefix}.0",
            [(b"k%d" % n, b"%d" % life) for n in range(50)],
        )
        eventually(partial(_is_reached, count_outputs, 50 * life))
        eventually(partial(has_committed_all, plain_plan))  # the worker's rows are in the changelog
        worker.kill()
        shutil.rmtree(tmp_path / "state")
    assert "restoring" in worker.output()


def test_worker_refused_by_the_broker_ends_with_a_message(
    plan: Plan, secure_broker: SecureBroker, start: Callable[[Plan], Worker]
) -> None:
    properties = {**secure_broker.properties, "sasl.password": "a guess"}
    worker = start(msgspec.structs.replace(plan, librdkafka=properties))
    assert worker.process.wait(120) == 1
    assert "Authentication failed" in worker.last_line()


def test_whole_stack_works_over_tls_as_a_known_user(
    secure_broker: SecureBroker, receiver: Receiver, tmp_path: Path
) -> None:
    variables = {
        "TEST_RECEIVER": receiver.url,
        "TEST_SIGNING_SECRET": "test-signing-secret",
        "KAIROS_BOOTSTRAP_SERVERS": secure_broker.secure_address,
        "KAIROS_PARTITIONS": "1",
        "KAIROS_DECIDE_BUDGET_MS": "30000",
        **{kafka_variable(name): value for name, value in secure_broker.properties.items()},
    }
    customer = {"userId": "tls", "context": {"traits": {"email": _EMAIL}}}
    question = {"interaction": {**customer, "type": "page", "name": "home"}, "placements": ["hero"]}
    order = {**customer, "event": "Order", "properties": {"total": 5}}
    with running_stack(Stack(tmp_path, _CONFIGURATION, variables)) as stack:
        with stack.client("test-app-key") as client:
            answer = client.post("/v1/decide", json=question).json()
            assert client.post("/v1/track", json=order).status_code == 200
        assert not answer["defaulted"]
        assert answer["placements"]["hero"]["offer"] == "hello"
        stack.kairos("status", "--until-idle", "60")
        assert [post.action["offer"] for post in receiver.posts(_EMAIL)] == ["thanks"]
        assert "adapter-webhook-0" in stack.kairos("status")
