"""Our schemas under the ids of a real registry, when there is one (KAIROS_SCHEMA_REGISTRY_URL).

Confluent's client is imported when it is needed: that takes a quarter of a second.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx2
import msgspec

from pipeline.adapters.avro.codec import Codec
from pipeline.adapters.avro.subjects import subject, subjects
from pipeline.adapters.avro.versions import SchemaVersion, recorded

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import Schema, SchemaRegistryClient


class RegistryError(Exception):
    """Raised when the registry is out of reach or refuses; the message says what to do."""


def open_codec(url: str | None) -> Codec:
    """A codec with the ids that hold: those of the registry at `url`; None: our own."""
    return Codec(known_versions(url))


def known_versions(url: str | None) -> tuple[SchemaVersion, ...]:
    """All versions with the ids that hold, see `open_codec`."""
    if url is None:
        return recorded()
    with _client(url) as client:
        return tuple(
            msgspec.structs.replace(version, id=_id(client, version)) for version in recorded()
        )


def register(url: str | None, channels: Iterable[str]) -> None:
    """Makes every version known to the registry at `url`, oldest first; None: nothing to do."""
    if url is None:
        return
    channels = tuple(channels)
    with _client(url) as client:
        for version in recorded():
            for of_subject in subjects(version.name, channels):
                client.register_schema(of_subject, _schema(version))


def _id(client: "SchemaRegistryClient", version: SchemaVersion) -> int:
    """A registry gives equal schemas one id, so one subject of several will do."""
    found = client.lookup_schema(subject(version.name), _schema(version)).schema_id
    assert found is not None, "a schema that was found has an id"
    return found


def _schema(version: SchemaVersion) -> "Schema":
    from confluent_kafka.schema_registry import Schema

    return Schema(msgspec.json.encode(version.schema).decode(), "AVRO")


@contextmanager
def _client(url: str) -> Iterator["SchemaRegistryClient"]:
    from confluent_kafka.schema_registry import SchemaRegistryClient, SchemaRegistryError

    try:
        yield SchemaRegistryClient({"url": url, "max.retries": 0})
    except httpx2.HTTPError as error:
        raise RegistryError(
            f"schema registry {url} is out of reach ({error}): start it, or unset "
            "KAIROS_SCHEMA_REGISTRY_URL to use the one that Kairos brings"
        ) from error
    except SchemaRegistryError as error:
        raise RegistryError(
            f"schema registry {url}: {error.error_message} (error {error.error_code}); "
            "`kairos up` registers what is missing"
        ) from error
