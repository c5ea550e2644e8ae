"""Records of every topic become tables of typed columns, one for each day of the records' time."""

from typing import Any

import msgspec
import pyarrow as pa
import pytest
from confluent_kafka import Message

from pipeline.adapters.avro import Codec, recorded_versions
from pipeline.adapters.avro.subjects import CLASSES
from pipeline.model import topics
from pipeline.model.control import Control
from pipeline.model.decision import Candidate, Choice, Contact, Decision
from pipeline.model.interaction import Context, Identifier, Interaction
from pipeline.model.profile import Memberships, Profile
from pipeline.model.stages import Segmented
from pipeline.model.time import DAY_MS
from pipeline.replay.columns import columns_of
from pipeline.replay.manifest import Selection
from pipeline.replay.topic_tables import DayTables, day_of

_CODEC = Codec(recorded_versions())
_RECEIVED_AT_MS = 1_700_000_000_000
_WRITE_MS = _RECEIVED_AT_MS + 3 * DAY_MS
_TIME = pa.timestamp("ms", tz="UTC")

_INTERACTION = Interaction(
    event_id="e",
    kind="track",
    name="Order",
    channel="web",
    source="shop",
    occurred_at=_RECEIVED_AT_MS - 5,
    received_at=_RECEIVED_AT_MS,
    identifiers=(Identifier("email", "a@example.com"), Identifier("cookie", "k")),
    properties={"total": 1.5, "n": 2**62, "gift": True, "note": "ñ", "none": None},
    context=Context(campaign={"source": "x"}, consent={"ads": False}),
    lists={"skus": ("1", "2")},
)


def _message(topic: str, value: msgspec.Struct | bytes | None, offset: int = 7) -> Message:
    data = value if isinstance(value, bytes) else _CODEC.encode(topic, value)
    return Message(topic, 1, offset, b"key", data, timestamp=(2, _WRITE_MS))  # type: ignore[call-arg, arg-type, misc]


def _tables(topic: str, *values: msgspec.Struct | bytes | None) -> dict[str, pa.Table]:
    messages = [_message(topic, value) for value in values]
    return dict(DayTables(Selection(topic), _CODEC).split(messages))


def _row(topic: str, value: msgspec.Struct | bytes | None) -> dict[str, Any]:
    [table] = _tables(topic, value).values()
    [row] = table.to_pylist(maps_as_pydicts="strict")
    return row  # type: ignore[no-any-return]


def _ms(moment: Any) -> int:
    return round(moment.timestamp() * 1000)


@pytest.mark.parametrize("name", CLASSES)
def test_every_schema_has_columns(name: str) -> None:
    kinds = {
        column: column_type.kind for column, column_type in columns_of(_CODEC.schema(name)).items()
    }
    assert kinds.keys() == set(CLASSES[name].__struct_fields__)
    for column, kind in kinds.items():
        assert (kind == _TIME) == (column in ("at", "as_of") or column.endswith(("_at", "_seen")))


def test_interaction_has_typed_columns() -> None:
    row = _row(topics.INTERACTIONS, _INTERACTION)
    assert msgspec.json.decode(row["properties"]) == _INTERACTION.properties
    assert row["identifiers"] == [
        {"namespace": "email", "value": "a@example.com"},
        {"namespace": "cookie", "value": "k"},
    ]
    assert row["context"]["campaign"] == {"source": "x"}
    assert row["context"]["consent"] == {"ads": False}
    assert row["lists"] == {"skus": ["1", "2"]}
    assert (_ms(row["occurred_at"]), _ms(row["received_at"])) == (
        _RECEIVED_AT_MS - 5,
        _RECEIVED_AT_MS,
    )
    assert row["request"] is None
    assert (row["kafka_partition"], row["kafka_offset"], row["kafka_key"]) == (1, 7, "key")
    assert (_ms(row["kafka_at"]), row["kafka_tombstone"], row["kafka_error"]) == (
        _WRITE_MS,
        False,
        None,
    )


def test_nested_records_are_structs() -> None:
    decision = Decision(
        "d",
        "e",
        "p",
        "c",
        _RECEIVED_AT_MS,
        choices=(Choice("hero", "web", "a", propensity=0.5),),
        candidates=(Candidate("hero", "c", "o", "t", "web", 1.0, 0.5, 0.25, "chosen"),),
        rejected={"eligibility/x": ("t", "u")},
        contacts=(
            Contact(
                "a", "c", "o", "t", "web", "marketing", _RECEIVED_AT_MS, outcomes={"click": (1, 2)}
            ),
        ),
    )
    row = _row(topics.DECISIONS, decision)
    assert row["choices"][0]["propensity"] == 0.5
    assert row["candidates"][0]["fate"] == "chosen"
    assert row["rejected"] == {"eligibility/x": ["t", "u"]}
    [contact] = row["contacts"]
    assert [_ms(click_at) for click_at in contact["outcomes"]["click"]] == [1, 2]
    assert (contact["offer"], _ms(contact["at"])) == ("o", _RECEIVED_AT_MS)


def test_values_of_several_types_are_json() -> None:
    profile = Profile(
        "p",
        "r",
        ("r",),
        {"n": 1, "t": "x", "l": ("a",)},
        _RECEIVED_AT_MS,
        _RECEIVED_AT_MS,
        _RECEIVED_AT_MS,
        "c",
    )
    row = _row(topics.PROFILES, profile)
    assert msgspec.json.decode(row["traits"]) == {"n": 1, "t": "x", "l": ["a"]}


def test_times_in_maps_are_times() -> None:
    row = _row(
        topics.MEMBERSHIPS, Memberships("p", {"buyers": _RECEIVED_AT_MS}, _RECEIVED_AT_MS, "c")
    )
    assert _ms(row["segments"]["buyers"]) == _RECEIVED_AT_MS


@pytest.mark.parametrize(
    ("topic", "value"),
    [
        (topics.INTERACTIONS, _INTERACTION),
        (topics.SEGMENTED, Segmented(interaction=_INTERACTION)),
        (topics.SEGMENTED, Segmented(control=Control("i", "refresh", _RECEIVED_AT_MS, "c", "c"))),
        (topics.DECISIONS, Decision("d", "e", "p", "c", _RECEIVED_AT_MS)),
        (topics.MEMBERSHIPS, Memberships("p", {}, _RECEIVED_AT_MS, "c")),
    ],
)
def test_day_is_of_the_records_own_time(topic: str, value: msgspec.Struct) -> None:
    assert _tables(topic, value).keys() == {"2023-11-14"}


def test_record_without_a_time_is_of_the_day_when_it_was_written() -> None:
    assert _tables(topics.INTERACTIONS, None, b"garbage").keys() == {"2023-11-17"}


def test_bytes_that_are_no_record_are_a_row_with_the_reason() -> None:
    row = _row(topics.INTERACTIONS, b"garbage")
    assert row["kafka_error"] == "not-confluent-framing: begins with 6761726261"
    assert row["event_id"] is None


@pytest.mark.parametrize(
    ("time_ms", "day"),
    [(0, "1970-01-01"), (-1, "1969-12-31"), (-(2**63), "0001-01-01"), (2**63 - 1, "9999-12-31")],
)
def test_every_time_has_a_day(time_ms: int, day: str) -> None:
    assert day_of(time_ms) == day


def test_only_records_of_the_requested_period_are_taken() -> None:
    tables = DayTables(
        Selection(topics.INTERACTIONS, since=_RECEIVED_AT_MS, until=_RECEIVED_AT_MS + 1), _CODEC
    )
    moments = (_RECEIVED_AT_MS - 1, _RECEIVED_AT_MS, _RECEIVED_AT_MS + 1)
    messages = [
        _message(topics.INTERACTIONS, msgspec.structs.replace(_INTERACTION, received_at=moment))
        for moment in moments
    ]
    [(_, table)] = tables.split(messages)
    assert (table.num_rows, tables.left_out_records) == (1, 2)
