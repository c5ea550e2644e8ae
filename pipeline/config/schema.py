"""JSON Schemas of a configuration's files, derived from the classes."""

from collections.abc import Mapping
from dataclasses import dataclass
from inspect import cleandoc
from typing import Final, cast

import msgspec

from pipeline.conditions.schema import CONDITION, REF, Schema
from pipeline.config import model
from pipeline.config.model.journeys import Journey
from pipeline.config.model.providers import Provider

_ANY_MAPPING: Final[Schema] = {"type": "object"}


@dataclass(frozen=True, slots=True)
class FileKind:
    """Kind of file; `field`: its field in the bundle; `is_folder`: whether a folder holds such
    files."""

    field: str
    record: type[model.Part]
    schema: str
    is_folder: bool = False
    required: bool = False
    has_conditions: bool = False


FILE_KINDS: Final[Mapping[str, FileKind]] = {
    "sources.yaml": FileKind("sources", model.Sources, "sources", required=True),
    "identity.yaml": FileKind("identity", model.Identity, "identity", required=True),
    "channels.yaml": FileKind("channels", model.Channels, "channels", required=True),
    "profile.yaml": FileKind("profile", model.ProfileRules, "profile", has_conditions=True),
    "policies.yaml": FileKind("policies", model.Policies, "policies", has_conditions=True),
    "ingest.yaml": FileKind("ingest", model.Ingest, "ingest"),
    "learned.yaml": FileKind("learned", model.Learned, "learned"),
    "providers": FileKind("providers", Provider, "provider", is_folder=True),
    "segments": FileKind("segments", model.Segment, "segment", is_folder=True, has_conditions=True),
    "campaigns": FileKind(
        "campaigns", model.Campaign, "campaign", is_folder=True, has_conditions=True
    ),
    "catalogs": FileKind("catalogs", model.Catalog, "catalog", is_folder=True, has_conditions=True),
}
"""Kinds by the name of the file or folder in a configuration's folder."""

JOURNEY: Final = FileKind("journeys", Journey, "journey", is_folder=True, has_conditions=True)
"""Kind of journeys, which are not in the bundle: analyses read a journey's file separately."""


def complete_schema(kind: FileKind) -> Schema:
    """Return the complete schema, conditions included."""
    return _schema(kind, CONDITION)


def schema_without_conditions(kind: FileKind) -> Schema:
    """Return a schema that accepts any mapping as a condition, for the parser to check."""
    return _schema(kind, _ANY_MAPPING)


def _schema(kind: FileKind, condition: Schema) -> Schema:
    schema = msgspec.json.schema(kind.record, schema_hook=_condition_schema)
    parts = cast(Schema, _tidy(schema["$defs"]))
    if kind.has_conditions:
        parts["Condition"] = condition
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Kairos configuration: {kind.schema}",
        "$ref": schema["$ref"],
        "$defs": parts,
    }


def _condition_schema(_: type) -> Schema:
    """Return a placeholder for values in a condition; `Condition` has the schema of the whole."""
    return {"description": "See Condition."}


def _tidy(schema: object) -> object:
    """Remove indentation of descriptions, and siblings of references to conditions."""
    if isinstance(schema, dict):
        if schema.get("$ref") == REF:
            return {"$ref": REF}
        return {key: _tidy(part) for key, part in schema.items()}
    if isinstance(schema, list):
        return [_tidy(part) for part in schema]
    return cleandoc(schema) if isinstance(schema, str) else schema


def published_files() -> dict[str, str]:
    """Return the text of every published schema by file name."""
    return {
        f"{kind.schema}.schema.json": msgspec.json.format(
            msgspec.json.encode(complete_schema(kind), order="sorted"), indent=2
        ).decode()
        + "\n"
        for kind in (*FILE_KINDS.values(), JOURNEY)
    }
