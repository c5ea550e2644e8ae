"""Validity of schemas, and compatibility of one with another.

Apache's own `avro` package checks them, as FULL_TRANSITIVE: the new version reads the records of
every older one, and vice versa. Topics keep old records, and readers and writers outside Kairos
upgrade at any time.
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


def incompatibility(new_schema: Schema, older_schemas: Iterable[Schema]) -> str | None:
    """Return the incompatibility of `new_schema` with one of `older_schemas`; None: it has none."""
    checker = ReaderWriterCompatibilityChecker()  # type: ignore[no-untyped-call]
    parsed_new = _parse(new_schema)
    for parsed_older in map(_parse, older_schemas):
        for reader, writer in ((parsed_new, parsed_older), (parsed_older, parsed_new)):
            result = checker.get_compatibility(reader, writer)
            if result.compatibility is not SchemaCompatibilityType.compatible:
                return "; ".join(sorted(result.messages) + sorted(result.locations))
    return None


def _parse(schema: Schema) -> avro.schema.Schema:
    return avro.schema.parse(msgspec.json.encode(schema).decode())
