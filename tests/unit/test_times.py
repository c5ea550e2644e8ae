"""Time of an event by HTTP, from a file and in Avro: units are distinguished, impossible times are
refused, and a time after the receipt becomes that of the receipt."""

import dataclasses
from typing import Any

import msgspec
import pytest

from pipeline.config import model
from pipeline.config.compile import Configuration, compile_bundle
from pipeline.flow import Flow
from pipeline.intake.messages import MESSAGE_DECODER
from pipeline.intake.refusal import Refusal
from pipeline.intake.segment_api import Arrival, interaction
from pipeline.intake.times import parse_time
from pipeline.model import topics
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.outcome import DeadLetter
from pipeline.model.profile import Profile
from pipeline.row_files.row import FileRow
from pipeline.row_files.row_ids import RowIds
from pipeline.row_files.row_intake import RowIntake
from pipeline.rules import Rules
from tests.support.worlds import plain_rules

_NOW = 1_800_000_000_000
_MINUTE = 60_000
_HOUR = 3_600_000
_AT = 1_700_000_000_000
_SHOP = model.Source("shop", "web", "write-key-1")
_MUSEUM = model.Source("museum", "web", "write-key-2", earliest="1975-06-01")


def _configuration() -> Configuration:
    configuration = compile_bundle(
        model.Bundle(
            sources=model.Sources((_SHOP, _MUSEUM)),
            identity=model.Identity((model.Namespace("cookie"),)),
            channels=model.Channels((model.Channel("web"),)),
            profile=model.ProfileRules(
                (
                    model.TraitDefinition("orders", "count", window="1h"),
                    model.TraitDefinition("latest", "latest", "properties.number"),
                    model.TraitDefinition("when", "recency"),
                )
            ),
            segments=(
                model.Segment("busy", {"trait": "orders", "gte": 2}),
                model.Segment(
                    "in_order",
                    {"sequence": [{"name": "Cart"}, {"name": "Order"}], "within": "1h"},
                ),
            ),
        )
    )
    assert isinstance(configuration, Configuration), configuration
    return configuration


_CONFIG = _configuration()


def _rules() -> Rules:
    return dataclasses.replace(plain_rules(), config=_CONFIG)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        (1_700_000_000, _AT),
        (1_700_000_000.25, _AT + 250),
        (1_700_000_000_000, _AT),
        (1_700_000_000_000.4, _AT),
        (1_700_000_000_000_000, _AT),
        (1_700_000_000_000_000_000, _AT),
        ("1700000000", _AT),
        ("1700000000.250", _AT + 250),
        ("1700000000000", _AT),
        ("1700000000000000", _AT),
        ("1700000000000000000", _AT),
        ("2023-11-14T22:13:20Z", _AT),
        ("2023-11-14t22:13:20z", _AT),
        ("2023-11-14T22:13:20", _AT),
        ("2023-11-14 22:13:20", _AT),
        ("2023-11-14 22:13:20 UTC", _AT),
        ("2023-11-14T23:13:20+01:00", _AT),
        ("2023-11-14 23:13:20 +0100", _AT),
        ("2023-11-14T22:13:20.250Z", _AT + 250),
        ("2023-11-14T22:13:20.250123456Z", _AT + 250),
        ("20231114", _AT - 80_000_000),
    ],
)
def test_units_and_forms_are_distinguished(text: str | float, at: int) -> None:
    assert parse_time(text, "t") == at


@pytest.mark.parametrize(
    "text",
    ["", "now", "14/11/2023", "2023-13-01", "2016-12-31T23:59:60Z", 10**21, -(10**21), 1e300,
     "99999-01-01", "1.5", "12"],
)  # fmt: skip
def test_other_forms_are_refused_by_name(text: Any) -> None:
    refusal = parse_time(text, "t")
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.field) == ("invalid_time", "t")


def _read_http(source: model.Source, at: Any) -> Interaction | Refusal | DeadLetter:
    body = {"type": "track", "event": "Order", "anonymousId": "c", "timestamp": at}
    message = MESSAGE_DECODER.decode(msgspec.json.encode(body))
    return interaction(message, "track", Arrival(source, _CONFIG, _NOW))


def _read_file(source: model.Source, at: Any) -> Interaction | Refusal | DeadLetter:
    identifiers = [{"namespace": "cookie", "value": "c"}]
    raw = msgspec.json.encode({"kind": "track", "identifiers": identifiers, "occurred_at": at})
    return RowIntake(_CONFIG, source, 10_000, _NOW, RowIds("a.ndjson")).take_in(FileRow(1, raw, 0))


def _read_avro(source: model.Source, at: Any) -> Interaction | Refusal | DeadLetter:
    flow = Flow(_rules())
    for emit in flow.run(_interaction("e", "Order", source.name, at, _NOW)):
        if emit.topic == topics.IDENTIFIED:
            assert isinstance(emit.value.interaction, Interaction)
            return emit.value.interaction
    [(_, reason)] = flow.dead_letters
    return reason


def _interaction(event: str, name: str, source: str, at: int, received_at: int) -> Interaction:
    identifiers = (Identifier("cookie", "c"),)
    return Interaction(
        event, "track", name, "web", source, at, received_at, identifiers, {"number": event}
    )


_DOORS = pytest.mark.parametrize("door", [_read_http, _read_file, _read_avro])


@_DOORS
@pytest.mark.parametrize(
    ("source", "at"),
    [
        (_SHOP, 0),
        (_SHOP, 946_684_799_999),
        (_SHOP, _NOW + _HOUR + 1),
        (_MUSEUM, 170_812_799_999),
        (_SHOP, 9_999 * _NOW),
    ],
)
def test_impossible_times_are_refused(door: Any, source: model.Source, at: int) -> None:
    answer = door(source, at)
    assert not isinstance(answer, Interaction), answer


@_DOORS
@pytest.mark.parametrize(
    ("source", "at"),
    [(_SHOP, 946_684_800_000), (_MUSEUM, 170_812_800_000), (_SHOP, _AT), (_SHOP, _NOW)],
)
def test_possible_times_are_accepted(door: Any, source: model.Source, at: int) -> None:
    answer = door(source, at)
    assert isinstance(answer, Interaction), answer
    assert answer.occurred_at == at


@_DOORS
@pytest.mark.parametrize("ahead_ms", [1, 50 * _MINUTE, _HOUR])
def test_event_ahead_of_its_receipt_happened_at_its_receipt(door: Any, ahead_ms: int) -> None:
    answer = door(_SHOP, _NOW + ahead_ms)
    assert isinstance(answer, Interaction), answer
    assert (answer.occurred_at, answer.received_at) == (_NOW, _NOW)


def test_seconds_in_avro_are_refused_as_too_early() -> None:
    reason = _read_avro(_SHOP, 1_700_000_000)
    assert isinstance(reason, DeadLetter)
    assert reason.reason == "time-too-early"
    assert "occurred_at" in reason.detail


def test_clock_that_is_ahead_changes_neither_windows_nor_order() -> None:
    # A cart by a clock that is 50 minutes ahead, then an order by a correct one.
    flow = Flow(_rules())
    stream = [
        _interaction("e1", "Cart", "shop", _NOW + 50 * _MINUTE, _NOW),
        _interaction("e2", "Order", "shop", _NOW + _MINUTE, _NOW + _MINUTE),
    ]
    emits = [emit for record in stream for emit in flow.run(record)]
    profile = [emit.value for emit in emits if isinstance(emit.value, Profile)][-1]
    assert profile.traits["orders"] == 2
    assert profile.traits["latest"] == "e2"
    assert profile.traits["when"] == profile.last_seen == _NOW + _MINUTE
    entries = {e.value.segment: e.value for e in emits if e.topic == topics.SEGMENT_CHANGES}
    assert entries.keys() == {"busy", "in_order"}
    exits = [
        emit.value.segment
        for emit in flow.advance(_NOW + _HOUR)
        if emit.topic == topics.SEGMENT_CHANGES
    ]
    assert exits == ["busy"]


@pytest.mark.parametrize("day", ["yesterday", "1969-12-31", "", "2024-02-30"])
def test_invalid_earliest_day_is_named(day: str) -> None:
    bundle = _CONFIG.bundle
    source = model.Source("shop", "web", "write-key-1", earliest=day)
    sources = msgspec.structs.replace(bundle.sources, sources=(source,))
    problems = compile_bundle(msgspec.structs.replace(bundle, sources=sources))
    assert isinstance(problems, tuple)
    assert problems[0].path == ("sources", "sources", 0, "earliest")
