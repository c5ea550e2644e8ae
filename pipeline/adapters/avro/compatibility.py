"""Validity of schemas, and compatibility of one with another.

Apache's own `avro` package checks them, as FULL_TRANSITIVE: the new version reads the records of
every older one, and vice versa. Topics are kept, and readers and writers outside Kairos upgrade at
any time.
"""

from collections.abc import Iterable
from typing import Final

import avro.errors
import avro.schema
import msgspec
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType

from pipeline.adapters.avro.versions import Schema

LEVEL: Final = "FULL_TRANSITIVE"
"""Schema registries' name of the required compatibility."""


def schema_fault(schema: Schema) -> str | None:
    """Return the reason why `schema` is not valid Avro; None if it is."""
    try:
        _parse(schema)
    except avro.errors.AvroException as error:
        return str(error)
    return None


def incompatibility(new: Schema, older: Iterable[Schema]) -> str | None:
    """Return the incompatibility of `new` with one of the `older` schemas; None: there is none."""
    checker = ReaderWriterCompatibilityChecker()  # type: ignore[no-untyped-call]
    new_schema = _parse(new)
    for schema in map(_parse, older):
        for reader, writer in ((new_schema, schema), (schema, new_schema)):
            result = checker.get_compatibility(reader, writer)
            if result.compatibility is not SchemaCompatibilityType.compatible:
                return "; ".join(sorted(result.messages) + sorted(result.locations))
    return None


def _parse(schema: Schema) -> avro.schema.Schema:
    return avro.schema.parse(msgspec.json.encode(schema).decode())
