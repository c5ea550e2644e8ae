"""Clients that know nothing of Kairos read its topics: Confluent's deserializer, and kcat."""

import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import msgspec
import pytest
import uvicorn
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.adapters.avro import Codec, RegistryError, recorded_versions
from pipeline.adapters.avro.registry import CONTENT_TYPE, Answer, Registry
from pipeline.adapters.avro.subjects import ACTIONS, CLASSES, schema_name, subject
from pipeline.home.codec import open_codec
from pipeline.home.topics import topics_for
from pipeline.model import topics
from pipeline.settings import Settings
from tests.records import example
from tests.support.stack import Stack

CODEC = Codec(recorded_versions())
SCHEMAS = {version.name: version.schema for version in recorded_versions()}
TIMEOUT_S = 30.0
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@contextmanager
def serve(registry: Registry) -> Iterator[str]:
    """Provide the URL under which the registry answers."""

    def make_route(path: str, answer: Callable[..., Answer]) -> Route:
        return Route(path, lambda request: respond(answer(*request.path_params.values())))

    async def look_up(request: Request) -> Response:
        return respond(registry.look_up(request.path_params["subject"], await request.body()))

    routes = [
        make_route("/schemas/ids/{id}", registry.schema),
        make_route("/subjects", registry.subjects),
        make_route("/subjects/{subject}/versions", registry.versions),
        make_route("/subjects/{subject}/versions/{version}", registry.version),
        Route("/subjects/{subject}", look_up, methods=["POST"]),
    ]
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), log_level="warning"))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()


def respond(answer: Answer) -> Response:
    status, body = answer
    return Response(msgspec.json.encode(body), status, media_type=CONTENT_TYPE)


@pytest.fixture(scope="module")
def registry_url() -> Iterator[str]:
    with serve(Registry(recorded_versions(), channels=["web"])) as url:
        yield url


def topic_of(name: str) -> str:
    return "actions.web" if name == ACTIONS else name


def produce(bootstrap: str, topic: str, value: bytes | None) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random"})
    producer.produce(topic, value, b"email:ada@example.com", headers={"traceparent": TRACEPARENT})
    assert producer.flush(TIMEOUT_S) == 0


def read_first_record(bootstrap: str, topic: str) -> Message:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "unused"})
    consumer.assign([TopicPartition(topic, 0, 0)])
    messages: Iterable[Message] = consumer.consume(1, TIMEOUT_S)
    consumer.close()
    (message,) = messages
    return message


@pytest.mark.parametrize("name", CLASSES)
def test_confluents_deserializer_reads_every_topic(
    name: str, bootstrap: str, make_topic: Callable[[str], str], registry_url: str
) -> None:
    topic = topic_of(name)
    record = example(CLASSES[name])
    produce(bootstrap, kafka_topic := make_topic(topic), CODEC.encode(topic, record))
    message = read_first_record(bootstrap, kafka_topic)
    deserialize = AvroDeserializer(SchemaRegistryClient({"url": registry_url}))
    fields = deserialize(message.value(), SerializationContext(topic, MessageField.VALUE))
    assert msgspec.convert(fields, CLASSES[name], builtin_types=(bytes,)) == record


@pytest.mark.parametrize("name", CLASSES)
def test_confluents_client_finds_the_latest_version(name: str, registry_url: str) -> None:
    client = SchemaRegistryClient({"url": registry_url})
    latest_version = client.get_latest_version(f"{topic_of(name)}-value")
    assert latest_version.schema_id in [
        version.id for version in recorded_versions() if version.name == name
    ]
    assert msgspec.json.decode(latest_version.schema.schema_str or "") == SCHEMAS[name]


def test_written_ids_are_those_of_the_configured_registry() -> None:
    registry_versions = [
        msgspec.structs.replace(version, id=1000 + version.id) for version in recorded_versions()
    ]
    with serve(Registry(registry_versions, channels=[])) as url:
        assert open_codec(Settings(schema_registry_url=url)).versions == tuple(registry_versions)


def test_error_of_a_registry_without_our_schemas_names_the_remedy() -> None:
    with (
        serve(Registry([], channels=[])) as url,
        pytest.raises(RegistryError, match=r"interactions-value.*40401.*kairos up"),
    ):
        open_codec(Settings(schema_registry_url=url))


def test_error_of_an_unreachable_registry_names_the_remedy() -> None:
    # Bound and not listening, so that the port stays closed.
    with socket.socket() as unheard_socket:
        unheard_socket.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unheard_socket.getsockname()[1]}"
        with pytest.raises(RegistryError, match=r"out of reach.*unset KAIROS_SCHEMA_REGISTRY_URL"):
            open_codec(Settings(schema_registry_url=url))


_UNWRITTEN_TOPICS = (topics.LEARNING, topics.BUDGETS, topics.COUPONS, topics.CANCELLATIONS)
"""Topics that nothing in this stack's configuration writes."""


@pytest.fixture(scope="module")
def stack_with_records(stack: Stack) -> Stack:
    """Stack in which every topic that the registry serves has a record, except
    `_UNWRITTEN_TOPICS`."""
    customer_id, email = f"c-{uuid4().hex[:12]}", {"email": f"{uuid4().hex[:12]}@example.com"}
    order = {"event": "Order", "userId": customer_id, "context": {"traits": email}}
    ping = {"event": "Ping", "userId": customer_id, "context": {"device": {"id": uuid4().hex}}}
    page = {"type": "page", "userId": customer_id, "name": "home"}
    bodies: dict[str, dict[str, Any]] = {
        "track": order,
        "batch": {"batch": [{"type": "track", **ping}, {"type": "dance"}]},
        "decide": {"interaction": page, "placements": ["hero"]},
    }
    with stack.client("test-app-key") as client:
        for path, body in bodies.items():
            assert client.post(f"/v1/{path}", json=body).status_code == 200
    stack.wait_until_idle()
    return stack


def test_confluents_deserializer_reads_every_record_of_a_stack(stack_with_records: Stack) -> None:
    registry = SchemaRegistryClient({"url": stack_with_records.url})
    deserialize = AvroDeserializer(registry)
    subjects = registry.get_subjects()
    for topic in (topic.name for topic in topics_for(["web", "email", "push"])):
        if topic in _UNWRITTEN_TOPICS:
            continue
        assert subject(topic) in subjects
        name = schema_name(topic)
        kind: type[Any] = CLASSES[name]
        records = list(stack_with_records.records.read_all(topic, kind))
        assert records, f"{topic} is empty"
        for entry, record in records:
            fields = deserialize(entry.value, SerializationContext(topic, MessageField.VALUE))
            assert msgspec.convert(fields, kind, builtin_types=(bytes,)) == record


@pytest.mark.skipif(shutil.which("kcat") is None, reason="kcat is not installed")
def test_kcat_lists_keys_and_headers(stack: Stack) -> None:
    customer_id = f"c-{uuid4().hex[:12]}"
    with stack.client("test-app-key") as client:
        message = {"event": "Viewed", "userId": customer_id}
        headers = {"traceparent": TRACEPARENT}
        assert client.post("/v1/track", json=message, headers=headers).status_code == 200
    assert 'topic "interactions" with 3 partitions' in run_kcat(stack, "-L", "-t", "interactions")
    listing = run_kcat(stack, "-C", "-e", "-q", "-t", "interactions", "-f", "%k %h\n")
    [customer_line] = [
        line for line in listing.splitlines() if line.startswith(f"customer_id:{customer_id} ")
    ]
    _, trace_id, *_ = TRACEPARENT.split("-")
    assert f"traceparent=00-{trace_id}-" in customer_line


def run_kcat(stack: Stack, *arguments: str) -> str:
    bootstrap = stack.settings.kafka()["bootstrap.servers"]
    command = ["kcat", "-b", str(bootstrap), *arguments]
    result = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=True)
    return result.stdout.decode(errors="replace")
