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
from pipeline.model.time import HOUR_MS, MINUTE_MS
from pipeline.row_files.row import FileRow
from pipeline.row_files.row_ids import RowIds
from pipeline.row_files.row_intake import RowIntake
from pipeline.rules import Rules
from tests.support.worlds import plain_rules

_NOW_MS = 1_800_000_000_000
_TIME_MS = 1_700_000_000_000
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
    ("value", "time_ms"),
    [
        (1_700_000_000, _TIME_MS),
        (1_700_000_000.25, _TIME_MS + 250),
        (1_700_000_000_000, _TIME_MS),
        (1_700_000_000_000.4, _TIME_MS),
        (1_700_000_000_000_000, _TIME_MS),
        (1_700_000_000_000_000_000, _TIME_MS),
        ("1700000000", _TIME_MS),
        ("1700000000.250", _TIME_MS + 250),
        ("1700000000000", _TIME_MS),
        ("1700000000000000", _TIME_MS),
        ("1700000000000000000", _TIME_MS),
        ("2023-11-14T22:13:20Z", _TIME_MS),
        ("2023-11-14t22:13:20z", _TIME_MS),
        ("2023-11-14T22:13:20", _TIME_MS),
        ("2023-11-14 22:13:20", _TIME_MS),
        ("2023-11-14 22:13:20 UTC", _TIME_MS),
        ("2023-11-14T23:13:20+01:00", _TIME_MS),
        ("2023-11-14 23:13:20 +0100", _TIME_MS),
        ("2023-11-14T22:13:20.250Z", _TIME_MS + 250),
        ("2023-11-14T22:13:20.250123456Z", _TIME_MS + 250),
        ("20231114", _TIME_MS - 80_000_000),
    ],
)
def test_units_and_forms_are_distinguished(value: str | float, time_ms: int) -> None:
    assert parse_time(value, "t") == time_ms


@pytest.mark.parametrize(
    "text",
    ["", "now", "14/11/2023", "2023-13-01", "2016-12-31T23:59:60Z", 10**21, -(10**21), 1e300,
     "99999-01-01", "1.5", "12"],
)  # fmt: skip
def test_unknown_forms_are_refused_by_name(text: Any) -> None:
    refusal = parse_time(text, "t")
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.field) == ("invalid_time", "t")


def _read_http(source: model.Source, time: Any) -> Interaction | Refusal | DeadLetter:
    body = {"type": "track", "event": "Order", "anonymousId": "c", "timestamp": time}
    message = MESSAGE_DECODER.decode(msgspec.json.encode(body))
    return interaction(message, "track", Arrival(source, _CONFIG, _NOW_MS))


def _read_file(source: model.Source, time: Any) -> Interaction | Refusal | DeadLetter:
    identifiers = [{"namespace": "cookie", "value": "c"}]
    raw = msgspec.json.encode({"kind": "track", "identifiers": identifiers, "occurred_at": time})
    return RowIntake(_CONFIG, source, 10_000, _NOW_MS, RowIds("a.ndjson")).take_in(
        FileRow(1, raw, 0)
    )


def _read_avro(source: model.Source, time: Any) -> Interaction | Refusal | DeadLetter:
    flow = Flow(_rules())
    for emit in flow.run(_interaction("e", "Order", source.name, time, _NOW_MS)):
        if emit.topic == topics.IDENTIFIED:
            assert isinstance(emit.value.interaction, Interaction)
            return emit.value.interaction
    [(_, reason)] = flow.dead_letters
    return reason


def _interaction(
    event: str, name: str, source: str, occurred_at: int, received_at: int
) -> Interaction:
    identifiers = (Identifier("cookie", "c"),)
    return Interaction(
        event,
        "track",
        name,
        "web",
        source,
        occurred_at,
        received_at,
        identifiers,
        {"number": event},
    )


_DOORS = pytest.mark.parametrize("door", [_read_http, _read_file, _read_avro])


@_DOORS
@pytest.mark.parametrize(
    ("source", "time_ms"),
    [
        (_SHOP, 0),
        (_SHOP, 946_684_799_999),
        (_SHOP, _NOW_MS + HOUR_MS + 1),
        (_MUSEUM, 170_812_799_999),
        (_SHOP, 9_999 * _NOW_MS),
    ],
)
def test_impossible_times_are_refused(door: Any, source: model.Source, time_ms: int) -> None:
    answer = door(source, time_ms)
    assert not isinstance(answer, Interaction), answer


@_DOORS
@pytest.mark.parametrize(
    ("source", "time_ms"),
    [(_SHOP, 946_684_800_000), (_MUSEUM, 170_812_800_000), (_SHOP, _TIME_MS), (_SHOP, _NOW_MS)],
)
def test_possible_times_are_accepted(door: Any, source: model.Source, time_ms: int) -> None:
    answer = door(source, time_ms)
    assert isinstance(answer, Interaction), answer
    assert answer.occurred_at == time_ms


@_DOORS
@pytest.mark.parametrize("lead_ms", [1, 50 * MINUTE_MS, HOUR_MS])
def test_event_ahead_of_its_receipt_happened_at_its_receipt(door: Any, lead_ms: int) -> None:
    answer = door(_SHOP, _NOW_MS + lead_ms)
    assert isinstance(answer, Interaction), answer
    assert (answer.occurred_at, answer.received_at) == (_NOW_MS, _NOW_MS)


def test_seconds_in_avro_are_refused_as_too_early() -> None:
    reason = _read_avro(_SHOP, 1_700_000_000)
    assert isinstance(reason, DeadLetter)
    assert reason.reason == "time-too-early"
    assert "occurred_at" in reason.detail


def test_clock_that_is_ahead_changes_neither_windows_nor_order() -> None:
    # The clock of the cart is 50 minutes ahead; that of the order is correct.
    flow = Flow(_rules())
    stream = [
        _interaction("e1", "Cart", "shop", _NOW_MS + 50 * MINUTE_MS, _NOW_MS),
        _interaction("e2", "Order", "shop", _NOW_MS + MINUTE_MS, _NOW_MS + MINUTE_MS),
    ]
    emits = [emit for record in stream for emit in flow.run(record)]
    profile = [emit.value for emit in emits if isinstance(emit.value, Profile)][-1]
    assert profile.traits["orders"] == 2
    assert profile.traits["latest"] == "e2"
    assert profile.traits["when"] == profile.last_seen == _NOW_MS + MINUTE_MS
    entries = {e.value.segment: e.value for e in emits if e.topic == topics.SEGMENT_CHANGES}
    assert entries.keys() == {"busy", "in_order"}
    exits = [
        emit.value.segment
        for emit in flow.advance(_NOW_MS + HOUR_MS)
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
