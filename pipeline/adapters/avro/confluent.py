"""Our schemas under the ids that a real registry gives them (KAIROS_SCHEMA_REGISTRY_URL)."""

from collections.abc import Callable, Iterable

import msgspec
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from pipeline.adapters.avro.registry import subject
from pipeline.adapters.avro.subjects import ACTIONS
from pipeline.adapters.avro.versions import SchemaVersion
from pipeline.model import topics


def register(
    client: SchemaRegistryClient, versions: Iterable[SchemaVersion], channels: Iterable[str]
) -> tuple[SchemaVersion, ...]:
    """`versions` with the registry's ids, registered, oldest first, where it has them not yet.

    Raises SchemaRegistryError when the registry refuses one.
    """
    return _with_ids(versions, channels, client.register_schema)


def look_up(
    client: SchemaRegistryClient, versions: Iterable[SchemaVersion], channels: Iterable[str]
) -> tuple[SchemaVersion, ...]:
    """`versions` with the registry's ids; raises SchemaRegistryError when one is not there."""
    return _with_ids(versions, channels, lambda of, schema: _id(client, of, schema))


def _with_ids(
    versions: Iterable[SchemaVersion],
    channels: Iterable[str],
    id_of: Callable[[str, Schema], int],
) -> tuple[SchemaVersion, ...]:
    """A registry gives one id to equal schemas, so that every channel's is the same."""
    action_topics = tuple(map(topics.actions, channels))
    return tuple(
        msgspec.structs.replace(version, id=schema_id)
        for version in versions
        for schema_id in {
            id_of(subject(topic), Schema(msgspec.json.encode(version.schema).decode(), "AVRO"))
            for topic in (action_topics if version.name == ACTIONS else (version.name,))
        }
    )


def _id(client: SchemaRegistryClient, of_subject: str, schema: Schema) -> int:
    found = client.lookup_schema(of_subject, schema).schema_id
    if found is None:
        raise LookupError(f"the registry knows {of_subject} without an id")
    return found
