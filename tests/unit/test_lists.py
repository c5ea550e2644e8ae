"""Properties that are lists stay lists in conditions, traits and Avro, by HTTP or from a file."""

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import msgspec
import pytest
from fastavro import parse_schema, schemaless_reader

from pipeline.adapters.avro import Codec, recorded_versions
from pipeline.conditions import Facts, compile, parse
from pipeline.config import model
from pipeline.config.model import Source
from pipeline.enrichment.shard import apply
from pipeline.enrichment.state import Shard
from pipeline.enrichment.view import traits
from pipeline.flow import Flow
from pipeline.intake.messages import MESSAGE_DECODER
from pipeline.intake.refusal import Refusal
from pipeline.intake.segment_api import Arrival, interaction
from pipeline.model import topics
from pipeline.model.interaction import FactValue, Interaction
from pipeline.model.profile import Profile
from pipeline.row_files.row import FileRow
from pipeline.row_files.row_ids import RowIds
from pipeline.row_files.row_intake import RowIntake
from tests.support.worlds import plain_rules, rules

_NOW_MS = 1_800_000_000_000
_CONFIG = plain_rules().config
_LONG_LIST = [f"tag-{number}" for number in range(1_000)]


def _read_http(properties: Mapping[str, Any]) -> Interaction:
    body = {"type": "track", "event": "Order", "anonymousId": "c", "properties": properties}
    message = MESSAGE_DECODER.decode(msgspec.json.encode(body))
    result = interaction(message, "track", Arrival(_SHOP, _CONFIG, _NOW_MS))
    assert isinstance(result, Interaction), result
    return result


_SHOP = Source("shop", "web", "write-key-1")


def _read_file(properties: Mapping[str, Any]) -> Interaction:
    identifiers = [{"namespace": "cookie", "value": "c"}]
    raw = msgspec.json.encode(
        {"kind": "track", "identifiers": identifiers, "properties": properties}
    )
    result = RowIntake(_CONFIG, _SHOP, 100_000, _NOW_MS, RowIds("a.ndjson")).take_in(
        FileRow(1, raw, 0)
    )
    assert isinstance(result, Interaction), result
    return result


def _read_avro(properties: Mapping[str, Any]) -> Interaction:
    codec = Codec(recorded_versions())
    data = codec.encode(topics.INTERACTIONS, _read_http(properties))
    assert data is not None
    record = codec.decode(topics.INTERACTIONS, data)
    assert isinstance(record, Interaction)
    return record


def is_met(condition: Mapping[str, Any], interaction: Interaction) -> bool:
    tree = parse(condition)
    assert not isinstance(tree, tuple), tree
    return compile(tree).test(Facts.of(interaction))


@pytest.mark.parametrize("read", [_read_http, _read_file, _read_avro])
@pytest.mark.parametrize(
    ("values", "condition", "expected"),
    [
        (["red", "blue"], {"contains": "blue"}, True),
        (["red", "blue"], {"contains": "blu"}, False),
        (_LONG_LIST, {"contains": "tag-999"}, True),
        (_LONG_LIST, {"contains": "ag-99"}, False),
        (_LONG_LIST, {"contains": '"tag-1","tag-2"'}, False),
        ([1, 2.0, True, None, "x"], {"contains": 2}, True),
        ([1, 2.0, True, None, "x"], {"contains": True}, True),
        ([1, 2.0, True, None, "x"], {"contains": "null"}, False),
        (["red", "blue"], {"in": ["green", "blue"]}, True),
        (["red", "blue"], {"in": ["green"]}, False),
        (["red", "blue"], {"not_in": ["green"]}, True),
        (["red", "blue"], {"not_in": ["green", "red"]}, False),
        ([], {"exists": True}, True),
        ([], {"contains": "red"}, False),
        ([{"sku": 1}], {"contains": '{"sku":1}'}, True),
    ],
)
def test_membership_is_that_of_the_list(
    read: Any, values: list[Any], condition: dict[str, Any], expected: bool
) -> None:
    assert is_met({"property": "tags", **condition}, read({"tags": values})) is expected
    nested_interaction = read({"cart": {"tags": values}})
    assert is_met({"property": "cart.tags", **condition}, nested_interaction) is expected


def test_list_has_a_length_and_elements_by_index() -> None:
    interaction = _read_http(
        {"tags": ["red", "blue"], "many": _LONG_LIST, "none": [], "own": {"length": 7}}
    )
    assert is_met({"property": "tags.length", "is": 2}, interaction)
    assert is_met({"property": "many.length", "gte": 1_000}, interaction)
    assert is_met({"property": "none.length", "is": 0}, interaction)
    assert is_met({"property": "own.length", "is": 7}, interaction)
    assert is_met({"property": "tags.0", "is": "red"}, interaction)
    assert is_met({"property": "tags.2", "exists": False}, interaction)


_CLASHES: list[tuple[dict[str, Any], str]] = [
    ({"tags": ["a", "b"], "tags.length": 9}, "tags.length"),
    ({"tags.0": "b", "tags": ["a"]}, "tags.0"),
    ({"cart": {"tags": ["a", "b"], "tags.1": "c"}}, "cart.tags.1"),
]


@pytest.mark.parametrize(("properties", "name"), _CLASHES)
def test_property_that_contradicts_a_list_is_refused(properties: dict[str, Any], name: str) -> None:
    message = MESSAGE_DECODER.decode(
        msgspec.json.encode({"event": "Order", "anonymousId": "c", "properties": properties})
    )
    refusal = interaction(message, "track", Arrival(_SHOP, _CONFIG, _NOW_MS))
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.field) == ("ambiguous_name", f"properties.{name}")


@pytest.mark.parametrize(
    ("properties", "lists", "name"),
    [
        ({"tags": 1}, {"tags": ("a",)}, "tags"),
        ({"tags.length": 9}, {"tags": ("a",)}, "tags.length"),
        ({"tags.0": "b"}, {"tags": ("a",)}, "tags.0"),
    ],
)
def test_avro_name_of_two_values_is_a_dead_letter(
    properties: dict[str, Any], lists: dict[str, tuple[str, ...]], name: str
) -> None:
    flow = Flow(_WORLD)
    clash = msgspec.structs.replace(_read_http({}), properties=properties, lists=lists)
    assert list(flow.run(clash)) == []
    (dead_letter,) = [letter for _, letter in flow.dead_letters]
    assert dead_letter.reason == "ambiguous-name"
    assert dead_letter.detail.startswith(f"properties.{name}:")


def test_properties_that_agree_with_a_list_are_kept_beside_it() -> None:
    interaction = _read_http(
        {"tags": ["1", "b"], "tags.length": 2, "tags.0": 1, "tags.2": "c", "other": 1}
    )
    assert interaction.properties == {"tags.length": 2, "tags.0": 1, "tags.2": "c", "other": 1}
    assert list(Flow(_WORLD).run(interaction))


_RULES = ("latest", "first", "union", "distinct", "sum", "min", "max", "avg")
_WORLD = rules(
    model.Bundle(
        sources=model.Sources((_SHOP,)),
        identity=model.Identity((model.Namespace("cookie"),)),
        channels=model.Channels((model.Channel("web"),)),
        profile=model.ProfileRules(
            (
                *(model.TraitDefinition(rule, rule, "properties.tags") for rule in _RULES),
                model.TraitDefinition("most", "max", "properties.tags.length"),
                model.TraitDefinition("recent", "union", "properties.tags", window="1h"),
                model.TraitDefinition("different", "distinct", "properties.tags", window="1h"),
            )
        ),
        segments=(model.Segment("reds", {"trait": "union", "contains": "red"}),),
    )
)


def _traits(*lists: list[Any]) -> dict[str, FactValue]:
    shard: Shard | None = None
    for number, values in enumerate(lists):
        interaction = msgspec.structs.replace(
            _read_http({"tags": values}), event_id=f"e{number}", occurred_at=_NOW_MS + number
        )
        shard = apply(shard, interaction, _WORLD.config)
    assert shard is not None
    stored_shard = msgspec.msgpack.decode(msgspec.msgpack.encode(shard), type=Shard)
    return traits((stored_shard,), _NOW_MS, _WORLD.config)


def test_traits_of_lists_are_of_their_elements() -> None:
    values_by_trait = _traits(["red", "blue"], ["blue", "green"])
    assert values_by_trait["latest"] == ("blue", "green")
    assert values_by_trait["first"] == ("red", "blue")
    assert values_by_trait["union"] == values_by_trait["recent"] == ("blue", "green", "red")
    assert values_by_trait["distinct"] == values_by_trait["different"] == 3
    assert values_by_trait["most"] == 2
    assert not values_by_trait.keys() & {"sum", "min", "max", "avg"}
    assert _traits(_LONG_LIST, _LONG_LIST)["distinct"] == 1_000


def test_lists_reach_segments_and_profiles() -> None:
    flow = Flow(_WORLD)
    emits = list(flow.run(_read_avro({"tags": ["red", "blue"]})))
    [profile] = [emit.value for emit in emits if isinstance(emit.value, Profile)]
    assert profile.traits["latest"] == ("red", "blue")
    assert [emit.value.segment for emit in emits if emit.topic == topics.SEGMENT_CHANGES] == [
        "reds"
    ]


def test_source_may_rename_a_list() -> None:
    source = model.Source("till", "pos", "write-key-2", properties={"tags": "properties.labels"})
    bundle = msgspec.structs.replace(_WORLD.config.bundle, sources=model.Sources((_SHOP, source)))
    interaction = msgspec.structs.replace(
        _read_http({"labels": ["red"], "tags": "none"}), source="till"
    )
    flow = Flow(rules(bundle))
    [identified_record] = [e.value for e in flow.run(interaction) if e.topic == topics.IDENTIFIED]
    assert identified_record.interaction.lists == {"labels": ("red",), "tags": ("red",)}
    assert "tags" not in identified_record.interaction.properties


def test_older_and_newer_versions_read_each_others_records() -> None:
    # A client that has only the first version reads new records without their lists.
    versions = [version for version in recorded_versions() if version.name == topics.INTERACTIONS]
    old_codec, new_codec = Codec([versions[0]]), Codec(recorded_versions())
    interaction = _read_http({"tags": ["red"], "total": 9})
    old_bytes = old_codec.encode(
        topics.INTERACTIONS, msgspec.structs.replace(interaction, lists={})
    )
    assert old_bytes is not None
    record = new_codec.decode(topics.INTERACTIONS, old_bytes)
    assert record == msgspec.structs.replace(interaction, lists={})
    data = new_codec.encode(topics.INTERACTIONS, interaction)
    assert data is not None
    body, first_schema, newest_schema = BytesIO(data[5:]), versions[0].schema, versions[-1].schema
    fields = schemaless_reader(body, parse_schema(newest_schema), parse_schema(first_schema))
    assert isinstance(fields, dict)
    assert "lists" not in fields
    assert msgspec.convert(fields, Interaction) == msgspec.structs.replace(interaction, lists={})
