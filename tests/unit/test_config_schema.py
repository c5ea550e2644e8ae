"""The published schemas are made from the classes, and accept every folder that `load` accepts."""

from pathlib import Path

import msgspec
import pytest
from jsonschema import Draft202012Validator

from pipeline.adapters.config_files import load
from pipeline.adapters.yaml_text import Document, read_yaml
from pipeline.config.model import Bundle, Part
from pipeline.config.schema import FILE_KINDS, FileKind, complete_schema, published_files
from pipeline.config.shape import shape_problems

ROOT = Path(__file__).parents[2]
PUBLISHED_FOLDER = ROOT / "schemas" / "config"
DEMO = ROOT / "deploy" / "demo"

KINDS = list(FILE_KINDS.values())


def test_published_schemas_are_up_to_date() -> None:
    files_by_name = {path.name: path.read_text() for path in PUBLISHED_FOLDER.iterdir()}
    assert files_by_name == published_files(), "run `kairos config schemas schemas/config`"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.schema)
def test_schema_is_valid(kind: FileKind) -> None:
    Draft202012Validator.check_schema(complete_schema(kind))


def test_every_field_of_the_bundle_has_a_file() -> None:
    fields = {field.name for field in msgspec.structs.fields(Bundle)}
    assert fields == {kind.field for kind in KINDS}


def test_demo_fits_the_published_schemas() -> None:
    assert isinstance(load(DEMO, {}), Bundle)
    for path in DEMO.rglob("*.yaml"):
        kind = FILE_KINDS[path.relative_to(DEMO).parts[0]]
        document = read_yaml(path.read_text(), {})
        assert isinstance(document, Document)
        assert Draft202012Validator(complete_schema(kind)).is_valid(document.value), path


VALID_VALUES: dict[str, dict[str, object]] = {
    "sources": {"sources": [{"name": "a", "channel": "web", "write_key": "12345678"}]},
    "identity": {"namespaces": [{"name": "email"}]},
    "channels": {"channels": [{"name": "web", "cost": 1, "placements": ["hero"]}]},
    "provider": {"provider": "p", "request": {"url": "https://x.example", "form": {"to": "{to}"}}},
    "profile": {"traits": [{"name": "n", "rule": "count", "when": {"name": "x"}}]},
    "learned": {
        "number": 3,
        "evidence": [
            {"campaign": "c", "offer": "o", "treatment": "t", "bin": "b", "trials": 2.5, "tried": 4}
        ],
    },
    "policies": {"caps": [{"cap": "c", "per": "all", "max": 1, "window": "1d"}]},
    "catalog": {"catalog": "c", "table": "c.csv", "exclude": [{"trait": "seen"}]},
    "ingest": {
        "watches": [
            {
                "watch": "w",
                "source": "a",
                "sftp": {"host": "h", "user": "u", "host_key": "k"},
                "columns": {"id": "identifiers.email"},
                "csv": {"names": ["id"]},
            }
        ]
    },
    "segment": {"segment": "s", "when": {"trait": "n", "gte": 1}},
    "campaign": {
        "campaign": "c",
        "goal": {"when": {"name": "x"}},
        "budget": None,
        "offers": [{"offer": "o", "value": 1, "treatments": [{"treatment": "t", "channel": "c"}]}],
    },
}
RUBBISH = (None, True, -1, 1.5, "", "a b", "5 minutes", [], ["a"], {}, {"odd": 1})


def damage(value: object) -> list[object]:
    """Return `value` with each of its parts replaced by rubbish, or removed, in turn."""
    if isinstance(value, dict):
        smaller_values = [{k: v for k, v in value.items() if k != key} for key in value]
        inner_values = [{**value, key: part} for key in value for part in damage(value[key])]
        return [*smaller_values, *inner_values, {**value, "odd": 1}, *RUBBISH]
    if isinstance(value, list):
        return [[part] for element in value for part in damage(element)] + list(RUBBISH)
    return list(RUBBISH)


def is_convertible(value: object, record: type[Part]) -> bool:
    try:
        msgspec.convert(value, record)
    except msgspec.ValidationError:
        return False
    return True


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.schema)
def test_classes_accept_the_forms_that_the_schemas_accept(kind: FileKind) -> None:
    valid_value = VALID_VALUES[kind.schema]
    assert is_convertible(valid_value, kind.record)
    assert not shape_problems(kind, valid_value)
    for value in damage(valid_value):
        assert is_convertible(value, kind.record) is not bool(shape_problems(kind, value)), value
