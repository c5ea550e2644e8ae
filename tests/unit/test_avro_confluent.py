"""Registering with a registry: the one in memory that Confluent ships with its client."""

import struct

import msgspec
import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient, SchemaRegistryError

from pipeline.adapters.avro import Codec, recorded_versions
from pipeline.adapters.avro.confluent import look_up_versions, register_schemas
from pipeline.model.profile import Profile
from tests.records import example


@pytest.fixture
def client() -> SchemaRegistryClient:
    """Registry whose first id belongs to a schema of another program."""
    client = SchemaRegistryClient.new_client({"url": "mock://"})
    client.register_schema("other-value", Schema('"string"', "AVRO"))
    return client


def test_unregistrations_are_unknown(client: SchemaRegistryClient) -> None:
    with pytest.raises(SchemaRegistryError):
        look_up_versions(client)


def test_every_version_gets_the_registrys_id(client: SchemaRegistryClient) -> None:
    register_schemas(client, channels=[])
    known_versions = look_up_versions(client)
    registrations = [
        client.lookup_schema(
            f"{version.name}-value", Schema(msgspec.json.encode(version.schema).decode(), "AVRO")
        )
        for version in recorded_versions()
    ]
    assert [version.id for version in known_versions] == [
        registration.schema_id for registration in registrations
    ]
    assert [version.schema for version in known_versions] == [
        version.schema for version in recorded_versions()
    ]


def test_every_topic_has_a_subject(client: SchemaRegistryClient) -> None:
    register_schemas(client, channels=["web", "email"])
    other_topics = {"actions.web", "actions.email", "probes", "other"}
    topics = {version.name for version in recorded_versions()} | other_topics
    assert set(client.get_subjects()) == {f"{topic}-value" for topic in topics}


def test_registering_again_changes_nothing(client: SchemaRegistryClient) -> None:
    register_schemas(client, channels=[])
    versions = look_up_versions(client)
    register_schemas(client, channels=["web"])
    assert look_up_versions(client) == versions
    assert client.get_versions("profiles-value") == [1]


def test_codec_writes_the_registrys_ids(client: SchemaRegistryClient) -> None:
    register_schemas(client, channels=[])
    data = Codec(look_up_versions(client)).encode("profiles", example(Profile))
    assert data is not None
    (schema_id,) = struct.unpack(">I", data[1:5])
    registration = client.get_latest_version("profiles-value")
    assert schema_id == registration.schema_id
    (own_schema,) = (
        version.schema for version in recorded_versions() if version.name == "profiles"
    )
    assert msgspec.json.decode(registration.schema.schema_str or "") == own_schema
