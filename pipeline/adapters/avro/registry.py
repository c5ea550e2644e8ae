"""Read-only part of a Confluent Schema Registry, for the schemas of Kairos.

Pure: each answer is (HTTP status, JSON), for `CONTENT_TYPE`. The real product's error codes: 40401
subject, 40402 version, 40403 schema not found, 42201 no valid schema, 42202 no valid version.
"""

from collections.abc import Iterable
from typing import Any, Final, TypeAlias

import msgspec

from pipeline.adapters.avro.compatibility import LEVEL
from pipeline.adapters.avro.subjects import subjects
from pipeline.adapters.avro.versions import Schema, SchemaVersion

CONTENT_TYPE: Final = "application/vnd.schemaregistry.v1+json"

Answer: TypeAlias = tuple[int, Any]
"""HTTP status and JSON body."""

_MAX_VERSION: Final = 2**31 - 1


class Registry:
    """Registry of `versions`; `channels`: those that have an action topic."""

    def __init__(self, versions: Iterable[SchemaVersion], channels: Iterable[str]) -> None:
        channels = tuple(channels)
        self._by_id = {version.id: version for version in versions}
        self._histories: dict[str, list[SchemaVersion]] = {}
        for version in self._by_id.values():
            for subject_name in subjects(version.name, channels):
                self._histories.setdefault(subject_name, []).append(version)

    def types(self) -> Answer:
        """Answer `GET /schemas/types`."""
        return 200, ["AVRO"]

    def config(self) -> Answer:
        """Answer `GET /config`."""
        return 200, {"compatibilityLevel": LEVEL}

    def mode(self) -> Answer:
        """Answer `GET /mode`."""
        return 200, {"mode": "READONLY"}

    def schema(self, schema_id: str) -> Answer:
        """Answer `GET /schemas/ids/{schema_id}`."""
        version = self._by_id.get(int(schema_id)) if _is_number(schema_id) else None
        if version is None:
            return _error(40403, f"Schema {schema_id} not found")
        return 200, {"schema": _text(version.schema)}

    def subjects(self) -> Answer:
        """Answer `GET /subjects`."""
        return 200, sorted(self._histories)

    def versions(self, subject_name: str) -> Answer:
        """Answer `GET /subjects/{subject_name}/versions`."""
        history = self._histories.get(subject_name)
        if history is None:
            return _no_subject(subject_name)
        return 200, [version.version for version in history]

    def version(self, subject_name: str, number: str) -> Answer:
        """Answer `GET /subjects/{subject_name}/versions/{number}`; a number, `latest` or -1."""
        history = self._histories.get(subject_name)
        if history is None:
            return _no_subject(subject_name)
        if number in ("latest", "-1"):
            return 200, _describe(subject_name, history[-1])
        if not (_is_number(number) and 1 <= int(number) <= _MAX_VERSION):
            return _error(
                42202,
                f"The specified version '{number}' is not a valid version id. "
                'Allowed values are between [1, 2^31-1] and the string "latest"',
            )
        versions = [version for version in history if version.version == int(number)]
        if not versions:
            return _error(40402, f"Version {number} not found.")
        return 200, _describe(subject_name, versions[0])

    def look_up(self, subject_name: str, body: bytes) -> Answer:
        """Answer `POST /subjects/{subject_name}`: the version with the schema in `body`."""
        history = self._histories.get(subject_name)
        if history is None:
            return _no_subject(subject_name)
        try:
            schema = msgspec.json.decode(msgspec.json.decode(body, type=_LookUpRequest).schema)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            return _error(42201, f"Invalid schema: {error}")
        versions = [version for version in history if version.schema == schema]
        if not versions:
            return _error(40403, "Schema not found")
        return 200, _describe(subject_name, versions[0])


class _LookUpRequest(msgspec.Struct, frozen=True):
    schema: str


def _describe(subject_name: str, version: SchemaVersion) -> dict[str, Any]:
    return {
        "subject": subject_name,
        "version": version.version,
        "id": version.id,
        "schema": _text(version.schema),
    }


def _text(schema: Schema) -> str:
    return msgspec.json.encode(schema).decode()


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= len(str(_MAX_VERSION))


def _no_subject(subject_name: str) -> Answer:
    return _error(40401, f"Subject '{subject_name}' not found.")


def _error(code: int, message: str) -> Answer:
    """Return an error; the first three digits of its code are the HTTP status."""
    return code // 100, {"error_code": code, "message": message}
