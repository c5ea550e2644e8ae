"""Schemas under the ids of a real registry, if there is one (KAIROS_SCHEMA_REGISTRY_URL).

Confluent's client is imported on demand, because that takes a quarter of a second.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from pipeline.adapters.avro.subjects import subject, subjects
from pipeline.adapters.avro.versions import SchemaVersion, recorded_versions

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import Schema, SchemaRegistryClient


class RegistryError(Exception):
    """Raised when the registry is out of reach or refuses; the message names the remedy."""


def look_up_versions(client: "SchemaRegistryClient") -> tuple[SchemaVersion, ...]:
    """Return all recorded versions, with the ids that the registry has for them."""
    return tuple(
        msgspec.structs.replace(version, id=_look_up_id(client, version))
        for version in recorded_versions()
    )


def register_schemas(client: "SchemaRegistryClient", channels: Iterable[str]) -> None:
    """Register all recorded versions, oldest first; a registered one keeps its id."""
    channels = tuple(channels)
    for version in recorded_versions():
        for subject_name in subjects(version.name, channels):
            client.register_schema(subject_name, _schema(version))


def _look_up_id(client: "SchemaRegistryClient", version: SchemaVersion) -> int:
    """Return the registry's id; equal schemas have one id in all subjects."""
    schema_id = client.lookup_schema(subject(version.name), _schema(version)).schema_id
    assert schema_id is not None, "a schema that was found has an id"
    return schema_id


def _schema(version: SchemaVersion) -> "Schema":
    from confluent_kafka.schema_registry import Schema

    return Schema(msgspec.json.encode(version.schema).decode(), "AVRO")


@contextmanager
def registry_client(url: str) -> Iterator["SchemaRegistryClient"]:
    """Open a client of the registry; its errors within the context are raised as RegistryError."""
    import httpx2
    from confluent_kafka.schema_registry import SchemaRegistryClient, SchemaRegistryError

    try:
        yield SchemaRegistryClient({"url": url, "max.retries": 0})
    except httpx2.HTTPError as error:
        raise RegistryError(
            f"schema registry {url} is out of reach ({error}): start it, or unset "
            "KAIROS_SCHEMA_REGISTRY_URL to use the registry in Kairos"
        ) from error
    except SchemaRegistryError as error:
        raise RegistryError(
            f"schema registry {url}: {error.error_message} (error {error.error_code}); "
            "`kairos up` registers missing schemas"
        ) from error
