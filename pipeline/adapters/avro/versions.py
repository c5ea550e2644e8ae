"""Recorded versions of all schemas, with their ids, which are the same in all stacks.

`schemas/<name>.avsc` is the schema of new records. `schemas/recorded.ndjson` has a line for
each version ever recorded; lines are only appended (`python -m pipeline.adapters.avro.record`), so
ids are stable.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from pipeline.adapters.avro.subjects import CLASSES

FOLDER: Final = Path(__file__).resolve().parents[3] / "schemas"
RECORD_FILE: Final = FOLDER / "recorded.ndjson"

Schema = dict[str, Any]
"""Avro schema as JSON."""


class SchemaVersion(Struct, frozen=True):
    """Line of the record: `version` counts from 1 within `name`, `id` over all."""

    id: int
    name: str
    version: int
    schema: Schema


def current_schemas() -> Mapping[str, Schema]:
    """Return the schemas of the `.avsc` files, by name."""
    return {name: msgspec.json.decode(_avsc(name).read_bytes()) for name in CLASSES}


@cache
def recorded_versions() -> tuple[SchemaVersion, ...]:
    """Return all versions in the order of their ids."""
    return tuple(msgspec.json.Decoder(SchemaVersion).decode_lines(RECORD_FILE.read_bytes()))


def _avsc(name: str) -> Path:
    return FOLDER / f"{name}.avsc"
