"""Avro in Confluent's wire format: `Codec`, its schemas, and the answers of a schema registry."""

from pipeline.adapters.avro.codec import Codec, MalformedRecord
from pipeline.adapters.avro.confluent import RegistryError
from pipeline.adapters.avro.versions import SchemaVersion, recorded_versions

__all__ = [
    "Codec",
    "MalformedRecord",
    "RegistryError",
    "SchemaVersion",
    "recorded_versions",
]
