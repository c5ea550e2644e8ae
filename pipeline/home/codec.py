"""Codec of a home: with the schema ids of its registry, if it has one."""

from collections.abc import Iterable

from pipeline.adapters.avro import Codec, recorded_versions
from pipeline.adapters.avro.confluent import look_up_versions, register_schemas, registry_client
from pipeline.settings import Settings


def open_codec(settings: Settings) -> Codec:
    """Return a codec with the ids of the registry if there is one, else with those of Kairos.

    Raises RegistryError.
    """
    if settings.schema_registry_url is None:
        return Codec(recorded_versions())
    with registry_client(settings.schema_registry_url) as client:
        return Codec(look_up_versions(client))


def register(settings: Settings, channels: Iterable[str]) -> None:
    """Register all versions with the registry, if there is one. Raises RegistryError."""
    if settings.schema_registry_url is not None:
        with registry_client(settings.schema_registry_url) as client:
            register_schemas(client, channels)
