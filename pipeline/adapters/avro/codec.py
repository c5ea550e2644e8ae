"""Codec between records and bytes in Confluent's wire format.

The format is `0x00`, the big-endian schema id, and the Avro body.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from math import isfinite
from operator import attrgetter, is_
from struct import Struct as Layout
from typing import Any, Final, Literal, TypeAlias, cast

from fastavro import parse_schema, schemaless_reader
from fastavro.read import SchemaResolutionError
from msgspec import Struct, ValidationError, convert

from pipeline.adapters.avro.subjects import CLASSES, schema_name
from pipeline.adapters.avro.versions import Schema, SchemaVersion
from pipeline.adapters.avro.writing import Writer, compile_writer
from pipeline.model.interaction import Interaction

_MAGIC: Final = 0
_HEADER: Final = Layout(">BI")
_NATIVE_TYPES: Final = (bytes,)
"""Types that Avro has and JSON lacks, which msgspec must not convert."""

_UNREADABLE_ERRORS: Final = (EOFError, IndexError, OverflowError, ValueError, SchemaResolutionError)
"""Exceptions of fastavro for bytes that are not a record of the schema."""

Reason: TypeAlias = Literal[
    "not-confluent-framing",
    "unknown-schema-id",
    "schema-of-another-topic",
    "malformed-avro",
    "invalid-record",
    "not-finite",
]


@dataclass(frozen=True, slots=True)
class MalformedRecord:
    """Bytes that are not a record of their topic; `reason`: a short code."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class _TopicWriter:
    """Writer of a topic's newest schema; `header`: the framing before each of its records."""

    header: bytes
    put: Writer
    record: type[Struct]


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reader of one schema version; `reader_schema` None: it equals `writer_schema`."""

    name: str
    writer_schema: Any
    reader_schema: Any | None
    record: type[Struct]


@dataclass(frozen=True, slots=True)
class _Extension:
    """Schema that begins with all the fields of another.

    `common_values` returns a record's values of the common fields; `put_rest` writes the other
    fields.
    """

    common_values: Callable[[Struct], tuple[Any, ...]]
    put_rest: Writer


class Codec:
    """Codec that writes each topic's newest schema and reads every version of it.

    `versions`: all readable versions, oldest first: `recorded_versions()`, or the same under the
    ids of a real registry (`confluent.py`).
    """

    def __init__(self, versions: Iterable[SchemaVersion]) -> None:
        self.versions = tuple(versions)
        schemas = [(version, parse_schema(version.schema)) for version in self.versions]
        latest_schemas = {version.name: (version.id, schema) for version, schema in schemas}
        self._writers = {
            name: _TopicWriter(
                _HEADER.pack(_MAGIC, schema_id), compile_writer(schema), CLASSES[name]
            )
            for name, (schema_id, schema) in latest_schemas.items()
        }
        self._extensions = dict(_extensions(self.versions))
        self._readers = {
            version.id: _Reader(
                version.name,
                schema,
                None
                if version.id == latest_schemas[version.name][0]
                else latest_schemas[version.name][1],
                CLASSES[version.name],
            )
            for version, schema in schemas
        }

    def encode(self, topic: str, value: Struct | None) -> bytes | None:
        """Return the bytes of `value`; None is a tombstone.

        An integer property beyond 64 bits is written as a double. Raises TypeError for a record of
        another topic's class, and UnicodeEncodeError for a text that UTF-8 cannot encode.
        """
        if value is None:
            return None
        writer = self._writers[schema_name(topic)]
        if type(value) is not writer.record:
            raise TypeError(f"{topic} carries {writer.record.__name__}, not {type(value).__name__}")
        parts = [writer.header]
        writer.put(parts.append, value)
        return b"".join(parts)

    def extend(self, topic: str, value: Struct, base: Struct, data: bytes) -> bytes | None:
        """Encode a `value` that may share its first fields with `base`, which was decoded from
        `data`.

        The shared bytes are copied instead of encoded again.
        """
        name = schema_name(topic)
        extension = self._extensions.get((_HEADER.unpack_from(data)[1], name))
        if extension is None or not _is_extension(extension, value, base):
            return self.encode(topic, value)
        parts = [self._writers[name].header, data[_HEADER.size :]]
        extension.put_rest(parts.append, value)
        return b"".join(parts)

    def decode(self, topic: str, data: bytes) -> Struct | MalformedRecord:
        """Return the record in `data` as the topic's class, from any schema version."""
        reader = self._reader(topic, data)
        return reader if isinstance(reader, MalformedRecord) else _read(reader, data)

    def decode_fields(self, topic: str, data: bytes) -> dict[str, Any] | MalformedRecord:
        """Return the record in `data` as a dict of the newest schema's fields, with Avro's
        values."""
        reader = self._reader(topic, data)
        return reader if isinstance(reader, MalformedRecord) else _read_fields(reader, data)

    def schema(self, topic: str) -> Schema:
        """Return the newest schema of the topic."""
        name = schema_name(topic)
        return [version.schema for version in self.versions if version.name == name][-1]

    def _reader(self, topic: str, data: bytes) -> _Reader | MalformedRecord:
        if len(data) < _HEADER.size or data[0] != _MAGIC:
            return MalformedRecord(
                "not-confluent-framing", f"begins with {data[:5].hex() or 'nothing'}"
            )
        (_, schema_id) = _HEADER.unpack_from(data)
        reader = self._readers.get(schema_id)
        if reader is None:
            return MalformedRecord("unknown-schema-id", f"schema id {schema_id} is unknown")
        if reader.name != schema_name(topic):
            return MalformedRecord(
                "schema-of-another-topic", f"schema of {reader.name}, not of {topic}"
            )
        return reader


def _extensions(versions: Iterable[SchemaVersion]) -> Iterator[tuple[tuple[int, str], _Extension]]:
    """Yield extensions among the newest versions, by id of the shorter and name of the longer."""
    newest_versions = {version.name: version for version in versions}
    for short_version in newest_versions.values():
        for long_version in newest_versions.values():
            short_fields = short_version.schema["fields"]
            long_fields = long_version.schema["fields"]
            if (
                1 < len(short_fields) < len(long_fields)
                and long_fields[: len(short_fields)] == short_fields
            ):
                other_fields = long_fields[len(short_fields) :]
                rest_schema = parse_schema({**long_version.schema, "fields": other_fields})
                names = [field["name"] for field in short_fields]
                extension = _Extension(attrgetter(*names), compile_writer(rest_schema))
                yield (short_version.id, long_version.name), extension


def _is_extension(extension: _Extension, value: Struct, base: Struct) -> bool:
    return all(map(is_, extension.common_values(value), extension.common_values(base)))


def _read(reader: _Reader, data: bytes) -> Struct | MalformedRecord:
    fields = _read_fields(reader, data)
    if isinstance(fields, MalformedRecord):
        return fields
    try:
        record = convert(fields, reader.record, builtin_types=_NATIVE_TYPES)
    except ValidationError as error:
        return MalformedRecord("invalid-record", str(error))
    return _check_finite(record) if isinstance(record, Interaction) else record


def _read_fields(reader: _Reader, data: bytes) -> dict[str, Any] | MalformedRecord:
    body = BytesIO(data)
    body.seek(_HEADER.size)
    try:
        fields = schemaless_reader(body, reader.writer_schema, reader.reader_schema)
    except _UNREADABLE_ERRORS as error:
        return MalformedRecord(
            "malformed-avro", f"no {reader.name} up to byte {body.tell()}: {error!r}"
        )
    if body.tell() != len(data):
        return MalformedRecord(
            "malformed-avro", f"{len(data) - body.tell()} bytes follow the record"
        )
    return cast(dict[str, Any], fields)


def _check_finite(interaction: Interaction) -> Interaction | MalformedRecord:
    for name, value in interaction.properties.items():
        if type(value) is float and not isfinite(value):
            return MalformedRecord("not-finite", f"properties.{name} is {value}")
    return interaction
