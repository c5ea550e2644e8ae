"""Whether schemas are valid Avro, and whether one can take over from another.

Judged by Apache's own `avro` package, as FULL_TRANSITIVE: the new version reads what every older
one wrote, and every older one reads what the new version writes. Topics are kept, and readers and
writers outside Kairos upgrade when they like.
"""

from collections.abc import Iterable
from typing import Final

import avro.errors
import avro.schema
import msgspec
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType

from pipeline.adapters.avro.versions import Schema

LEVEL: Final = "FULL_TRANSITIVE"
"""As a schema registry calls it."""


def invalid(schema: Schema) -> str | None:
    """Why `schema` is not valid Avro, or None."""
    try:
        _parse(schema)
    except avro.errors.AvroException as error:
        return str(error)
    return None


def incompatible(new: Schema, older: Iterable[Schema]) -> str | None:
    """What `new` breaks with one of the `older` schemas, or None."""
    checker = ReaderWriterCompatibilityChecker()  # type: ignore[no-untyped-call]
    parsed = _parse(new)
    for schema in map(_parse, older):
        for reader, writer in ((parsed, schema), (schema, parsed)):
            result = checker.get_compatibility(reader, writer)
            if result.compatibility is not SchemaCompatibilityType.compatible:
                return "; ".join(sorted(result.messages) + sorted(result.locations))
    return None


def _parse(schema: Schema) -> avro.schema.Schema:
    return avro.schema.parse(msgspec.json.encode(schema).decode())
