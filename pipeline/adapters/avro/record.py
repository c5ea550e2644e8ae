"""Command `python -m pipeline.adapters.avro.record`, which records changed schemas as versions."""

import sys
from collections.abc import Iterable, Iterator

import msgspec

from pipeline.adapters.avro.compatibility import LEVEL, incompatibility, schema_fault
from pipeline.adapters.avro.versions import (
    RECORD_FILE,
    Schema,
    SchemaVersion,
    current_schemas,
    recorded_versions,
)


def unrecorded_schemas(versions: Iterable[SchemaVersion]) -> dict[str, Schema]:
    """Return the `.avsc` files that differ from the newest of `versions`, by name."""
    newest_schemas = {version.name: version.schema for version in versions}
    return {
        name: schema
        for name, schema in current_schemas().items()
        if schema != newest_schemas.get(name)
    }


def refusal(schema: Schema, older_schemas: Iterable[Schema]) -> str | None:
    """Return the reason why `schema` must not follow `older_schemas`; None if it may."""
    if problem := schema_fault(schema):
        return f"not valid Avro: {problem}"
    if problem := incompatibility(schema, older_schemas):
        return (
            f"breaks {LEVEL} compatibility ({problem}): keep the fields that had no default, "
            "and give new ones a default"
        )
    return None


def next_versions(versions: tuple[SchemaVersion, ...]) -> Iterator[SchemaVersion]:
    """Yield a new version for each unrecorded schema."""
    for schema_id, (name, schema) in enumerate(
        unrecorded_schemas(versions).items(), len(versions) + 1
    ):
        older_count = sum(version.name == name for version in versions)
        yield SchemaVersion(schema_id, name, older_count + 1, schema)


def main() -> int:
    """Append a line per changed schema; return 1 if one must not be recorded."""
    versions = recorded_versions()
    new_versions = tuple(next_versions(versions))
    for new_version in new_versions:
        problem = refusal(
            new_version.schema, (v.schema for v in versions if v.name == new_version.name)
        )
        if problem:
            print(f"schemas/{new_version.name}.avsc: {problem}", file=sys.stderr)
            return 1
    with RECORD_FILE.open("ab") as lines:
        lines.writelines(msgspec.json.encode(new_version) + b"\n" for new_version in new_versions)
    for new_version in new_versions:
        print(
            f"schemas/{new_version.name}.avsc: version {new_version.version}, id {new_version.id}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
