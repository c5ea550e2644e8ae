"""The Avro schemas are valid, agree with the classes of the model, and evolve compatibly."""

from collections.abc import Iterator
from copy import deepcopy
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import msgspec
import pytest
from msgspec import NODEFAULT

from pipeline.adapters.avro.compatibility import incompatibility, schema_fault
from pipeline.adapters.avro.record import next_versions, refusal, unrecorded_schemas
from pipeline.adapters.avro.subjects import CLASSES
from pipeline.adapters.avro.versions import FOLDER, Schema, current_schemas, recorded_versions
from pipeline.model.decision import DeferralInput
from pipeline.model.interaction import FactValue, Scalar

SCHEMAS = current_schemas()
RECORDING_HINT = "run: python -m pipeline.adapters.avro.record"
SCALAR = ["null", "string", "boolean", "long", "double"]
PRIMITIVES = {NoneType: "null", bool: "boolean", int: "long", float: "double", str: "string"} | {
    bytes: "bytes"
}


def named_types(schema: Any) -> Iterator[Schema]:
    match schema:
        case {"type": "record", "fields": fields}:
            yield schema
            for field in fields:
                yield from named_types(field["type"])
        case {"type": _, "items": inner} | {"type": _, "values": inner}:
            yield from named_types(inner)
        case [*branches]:
            for branch in branches:
                yield from named_types(branch)


def spell_out(schema: Any, definitions: dict[str, Any]) -> Any:
    """Return `schema` reduced to names, types and defaults, with references resolved."""
    match schema:
        case str() if schema in definitions:
            return definitions[schema]
        case {"type": "record", "name": name, "fields": fields}:
            definitions[name] = {
                "record": name,
                "fields": [
                    (f["name"], spell_out(f["type"], definitions), f.get("default", NODEFAULT))
                    for f in fields
                ],
            }
            return definitions[name]
        case {"type": "array", "items": inner}:
            return {"array": spell_out(inner, definitions)}
        case {"type": "map", "values": inner}:
            return {"map": spell_out(inner, definitions)}
        case [*branches]:
            return [spell_out(branch, definitions) for branch in branches]
    return schema


_PUBLISHED_NAMES = {DeferralInput: "Again"}
"""Names of records that are published under another name than their class."""


def expected_schema(annotation: Any) -> Any:
    """Return the expected result of `spell_out` for a Python type."""
    if annotation in PRIMITIVES:
        return PRIMITIVES[annotation]
    if annotation == Scalar:
        return SCALAR
    if annotation == FactValue:
        return [*SCALAR, {"array": "string"}]
    match get_origin(annotation), get_args(annotation):
        case None, ():
            return {
                "record": _PUBLISHED_NAMES.get(annotation, annotation.__name__),
                "fields": [*map(field, msgspec.structs.fields(annotation))],
            }
        case (t, _) if t is Literal:
            return "string"
        case (t, options) if t in (Union, UnionType):
            (inner_type,) = set(options) - {NoneType}
            return ["null", expected_schema(inner_type)]
        case (t, (item, *_)) if t is tuple:
            return {"array": expected_schema(item)}
        case (t, (_, value)) if t is dict:
            return {"map": expected_schema(value)}
    raise TypeError(f"no schema for {annotation}")


def field(struct_field: msgspec.structs.FieldInfo) -> tuple[str, Any, Any]:
    """Return the field's schema: defaults as in the class; an optional field defaults to None, also
    where the class has no default."""
    default = (
        struct_field.default
        if struct_field.default_factory is NODEFAULT
        else struct_field.default_factory()
    )
    if default is NODEFAULT:
        default = None if NoneType in get_args(struct_field.type) else NODEFAULT
    else:
        default = msgspec.to_builtins(default)
    return struct_field.encode_name, expected_schema(struct_field.type), default


def convert_tuples(value: Any) -> Any:
    """Return the value with lists in place of tuples, so that defaults can be compared."""
    match value:
        case dict():
            return {key: convert_tuples(inner) for key, inner in value.items()}
        case list() | tuple():
            return [convert_tuples(inner) for inner in value]
    return value


@pytest.mark.parametrize("name", CLASSES)
def test_schema_and_class_have_the_same_fields_in_the_same_order(name: str) -> None:
    assert convert_tuples(spell_out(SCHEMAS[name], {})) == convert_tuples(
        expected_schema(CLASSES[name])
    )


@pytest.mark.parametrize("name", CLASSES)
def test_schema_is_valid_avro_and_documented(name: str) -> None:
    assert schema_fault(SCHEMAS[name]) is None
    assert SCHEMAS[name]["namespace"] == "io.kairos"
    assert all(record["doc"] for record in named_types(SCHEMAS[name]))


def test_every_schema_file_belongs_to_a_topic() -> None:
    assert {path.stem for path in FOLDER.glob("*.avsc")} == set(CLASSES)


def test_record_of_several_schemas_is_the_same_in_all() -> None:
    schemas_by_name: dict[str, Any] = {}
    for schema in SCHEMAS.values():
        definitions: dict[str, Any] = {}
        spell_out(schema, definitions)
        for name, record in definitions.items():
            assert schemas_by_name.setdefault(name, record) == record


def test_each_stage_appends_to_the_record_of_the_stage_before() -> None:
    identified_fields, enriched_fields, segmented_fields = (
        spell_out(SCHEMAS[f"interactions.{stage}"], {})["fields"]
        for stage in ("identified", "enriched", "segmented")
    )
    assert enriched_fields[:-1] == identified_fields
    assert segmented_fields[:-1] == enriched_fields


def test_written_schemas_are_recorded() -> None:
    assert not unrecorded_schemas(recorded_versions()), RECORDING_HINT


def test_ids_count_from_one_and_versions_within_their_name() -> None:
    versions = recorded_versions()
    assert [version.id for version in versions] == list(range(1, len(versions) + 1))
    for name in CLASSES:
        numbers = [version.version for version in versions if version.name == name]
        assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("name", CLASSES)
def test_every_version_is_compatible_with_all_before_it(name: str) -> None:
    history = [version.schema for version in recorded_versions() if version.name == name]
    for count, schema in enumerate(history):
        assert refusal(schema, history[:count]) is None


def test_field_with_a_default_may_be_added_and_removed() -> None:
    old_schema = SCHEMAS["profiles"]
    new_schema = deepcopy(old_schema)
    new_schema["fields"].append({"name": "score", "type": ["null", "double"], "default": None})
    assert incompatibility(new_schema, [old_schema]) is None
    assert incompatibility(old_schema, [new_schema]) is None


def remove_field(index: int) -> Schema:
    schema = deepcopy(SCHEMAS["profiles"])
    del schema["fields"][index]
    return schema


def add_field(**changes: Any) -> Schema:
    schema = deepcopy(SCHEMAS["profiles"])
    schema["fields"].append(changes)
    return schema


def change_type(index: int, new_type: str) -> Schema:
    schema = deepcopy(SCHEMAS["profiles"])
    schema["fields"][index]["type"] = new_type
    return schema


@pytest.mark.parametrize(
    "schema",
    [remove_field(0), add_field(name="score", type="double"), change_type(4, "string")],
    ids=["field removed", "field without default added", "type changed"],
)
def test_breaking_change_is_refused(schema: Schema) -> None:
    problem = refusal(schema, [SCHEMAS["profiles"]])
    assert problem is not None
    assert "FULL_TRANSITIVE" in problem


def test_breaking_change_deep_inside_is_refused() -> None:
    old_schema = SCHEMAS["interactions.segmented"]
    new_schema = deepcopy(old_schema)
    interaction = next(r for r in named_types(new_schema) if r["name"] == "Interaction")
    interaction["fields"].append({"name": "tenant", "type": "string"})
    assert incompatibility(new_schema, [old_schema]) is not None
    interaction["fields"][-1]["default"] = ""
    assert incompatibility(new_schema, [old_schema]) is None


def test_compatibility_is_with_every_version_not_only_the_last() -> None:
    first_schema = SCHEMAS["profiles"]
    second_schema = add_field(name="score", type="double", default=0.0)
    third_schema = add_field(name="score", type="string", default="")
    assert incompatibility(second_schema, [first_schema]) is None
    assert incompatibility(third_schema, [first_schema]) is None
    assert incompatibility(third_schema, [first_schema, second_schema]) is not None


def test_schema_that_is_not_avro_is_refused() -> None:
    problem = refusal(add_field(name="score", type="number"), [])
    assert problem is not None
    assert "number" in problem


def test_changed_schema_gets_the_next_version_and_id() -> None:
    earlier_versions = recorded_versions()[:-1]
    (new_version,) = next_versions(earlier_versions)
    assert (new_version.id, new_version.name, new_version.version) == (
        len(earlier_versions) + 1,
        recorded_versions()[-1].name,
        recorded_versions()[-1].version,
    )
