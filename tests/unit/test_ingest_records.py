"""A row is an Interaction or a Segment message, and passes the gateway's checks either way."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from pipeline.config.model import Source
from pipeline.gateway.refusal import Refusal
from pipeline.ingest.records import Reading
from pipeline.ingest.rows import Row
from pipeline.model.interaction import Context, Identifier, Interaction
from tests.support.worlds import plain_rules

_NOW = 1_800_000_000_000
_HOUR = 3_600_000
_READING = Reading(plain_rules().config, Source("file", "file", "unused-key"), 10_000, _NOW)
_FULL: Mapping[str, Any] = {
    "event_id": "e1",
    "kind": "track",
    "name": "Order",
    "channel": "pos",
    "source": "till",
    "occurred_at": 1_700_000_000_000,
    "received_at": 1_700_000_005_000,
    "identifiers": [
        {"namespace": "cookie", "value": "c"},
        {"namespace": "email", "value": "A@b.c"},
    ],
    "properties": {"total": 9, "cart": {"size": 2}},
    "context": {"ip": "192.0.2.1", "campaign": {"name": "spring"}},
}


def judge(value: object, line: int = 1) -> Interaction | Refusal:
    raw = value if isinstance(value, bytes) else msgspec.json.encode(value)
    return _READING.judge(Row(line, raw, 0))


def taken(value: object, line: int = 1) -> Interaction:
    result = judge(value, line)
    assert isinstance(result, Interaction), result
    return result


def test_an_interaction_is_taken_as_it_stands_with_identifiers_ranked_and_normal() -> None:
    assert taken(_FULL) == Interaction(
        event_id="e1",
        kind="track",
        name="Order",
        channel="pos",
        source="till",
        occurred_at=1_700_000_000_000,
        received_at=1_700_000_005_000,
        identifiers=(Identifier("email", "a@b.c"), Identifier("cookie", "c")),
        properties={"total": 9, "cart.size": 2},
        context=Context(ip="192.0.2.1", campaign={"name": "spring"}),
    )


def test_what_an_interaction_does_not_say_is_now_and_of_the_file() -> None:
    short = taken({"kind": "page", "identifiers": [{"namespace": "cookie", "value": "c"}]})
    assert (short.name, short.source, short.channel) == ("page", "file", "file")
    assert (short.occurred_at, short.received_at) == (_NOW, _NOW)


def test_a_segment_message_is_read_as_the_gateway_reads_it() -> None:
    message = {"type": "track", "event": "Order", "anonymousId": "c", "timestamp": "2024-01-31"}
    told = taken(message)
    assert (told.kind, told.name, told.source) == ("track", "Order", "file")
    assert told.occurred_at == 1_706_659_200_000
    assert taken({**message, "writeKey": "write-key-1"}).source == "shop"


def test_the_same_line_has_the_same_id_again_and_another_line_another() -> None:
    for value in ({"type": "page", "userId": "u", "anonymousId": "c"}, _without("event_id")):
        assert taken(value).event_id == taken(value).event_id
        assert taken(value).event_id != taken(value, line=2).event_id


def _without(field: str) -> dict[str, Any]:
    return {name: value for name, value in _FULL.items() if name != field}


@pytest.mark.parametrize(
    ("value", "code", "field"),
    [
        (b'{"type": ', "invalid_json", None),
        (b"[]", "invalid_field", None),
        (
            b'{"type": "page", "traits": {"a": ' + b"[" * 4_000 + b"]" * 4_000 + b"}}",
            "too_deep",
            None,
        ),
        ({"kind": "x" * 10_000}, "too_large", None),
        ({"event": "Order", "userId": "u"}, "missing_field", "type"),
        ({"type": "track", "anonymousId": "c"}, "missing_field", "event"),
        ({"type": "page"}, "missing_identifier", "userId"),
        ({**_FULL, "kind": "timer"}, "invalid_field", "kind"),
        ({**_FULL, "identifiers": []}, "missing_identifier", "identifiers"),
        (_without("identifiers"), "invalid_field", None),
        (
            {**_FULL, "identifiers": [{"namespace": "cookie", "value": "null"}]},
            "invalid_identifier",
            "identifiers.0",
        ),
        (
            {**_FULL, "identifiers": [{"namespace": "tax", "value": "1"}]},
            "invalid_identifier",
            "identifiers.0",
        ),
        ({**_FULL, "event_id": ""}, "invalid_field", "event_id"),
        ({**_FULL, "received_at": _NOW + 2 * _HOUR}, "in_the_future", "received_at"),
        ({**_FULL, "occurred_at": _NOW}, "in_the_future", "occurred_at"),
        ({**_FULL, "occurred_at": "yesterday"}, "invalid_time", "occurred_at"),
        ({**_FULL, "occurred_at": "1960-01-01"}, "invalid_time", "occurred_at"),
        (
            b'{"kind": "track", "identifiers": [], "properties": {"a": NaN}}',
            "not_finite",
            "properties.a",
        ),
        ({**_FULL, "properties": {"a": 2**70}}, "out_of_range", "properties.a"),
    ],
)
def test_what_cannot_be_taken_names_the_field(value: object, code: str, field: str | None) -> None:
    refusal = judge(value)
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.field) == (code, field)
