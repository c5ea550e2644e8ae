"""A row is an Interaction or a Segment message, and passes the gateway's checks either way."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest

from pipeline.config.model import Source
from pipeline.intake.refusal import Refusal
from pipeline.model.interaction import Context, Identifier, Interaction
from pipeline.model.time import HOUR_MS
from pipeline.row_files.row import FileRow
from pipeline.row_files.row_ids import RowIds
from pipeline.row_files.row_intake import RowIntake
from tests.support.worlds import plain_rules

_NOW_MS = 1_800_000_000_000
_SOURCE = Source("file", "file", "unused-key")


def intake_of(file: str = "a.ndjson", keys: tuple[str, ...] = ()) -> RowIntake:
    return RowIntake(plain_rules().config, _SOURCE, 10_000, _NOW_MS, RowIds(file, keys))


_COMPLETE_RECORD: Mapping[str, Any] = {
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


def take_in(value: object, line: int = 1) -> Interaction | Refusal:
    raw = value if isinstance(value, bytes) else msgspec.json.encode(value)
    return intake_of().take_in(FileRow(line, raw, 0))


def take(value: object, line: int = 1) -> Interaction:
    result = take_in(value, line)
    assert isinstance(result, Interaction), result
    return result


def test_interaction_is_taken_unchanged_with_identifiers_ranked_and_normalised() -> None:
    assert take(_COMPLETE_RECORD) == Interaction(
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


def test_missing_fields_default_to_the_file_and_the_present_time() -> None:
    interaction = take({"kind": "page", "identifiers": [{"namespace": "cookie", "value": "c"}]})
    assert (interaction.name, interaction.source, interaction.channel) == ("page", "file", "file")
    assert (interaction.occurred_at, interaction.received_at) == (_NOW_MS, _NOW_MS)


def test_segment_message_is_read_as_the_gateway_reads_it() -> None:
    message = {"type": "track", "event": "Order", "anonymousId": "c", "timestamp": "2024-01-31"}
    record = take(message)
    assert (record.kind, record.name, record.source) == ("track", "Order", "file")
    assert record.occurred_at == 1_706_659_200_000
    assert take({**message, "writeKey": "write-key-1"}).source == "shop"


def ids(rows: Sequence[object], file: str = "a.csv", *keys: str) -> list[str]:
    """Return the ids of the accepted rows of one file, in their order."""
    intake = intake_of(file, keys)
    results = [
        intake.take_in(FileRow(line, msgspec.json.encode(row), 0))
        for line, row in enumerate(rows, start=1)
    ]
    return [result.event_id for result in results if isinstance(result, Interaction)]


_PAGE = {"type": "page", "anonymousId": "c"}
_ORDER = {"type": "track", "event": "Order", "anonymousId": "c"}
_INVALID_ROW = {"type": "track", "anonymousId": "c"}


def test_file_sent_again_without_its_refused_rows_has_the_same_ids() -> None:
    rows = [_INVALID_ROW, _PAGE, _ORDER, _PAGE, _INVALID_ROW, _remove_field("event_id"), _ORDER]
    valid_rows = [row for row in rows if row is not _INVALID_ROW]
    assert len(set(ids(valid_rows))) == len(valid_rows) == 5
    assert ids(rows) == ids(valid_rows)
    fixed_rows = [{**_ORDER, "event": "Fixed"}, *rows[1:]]
    assert ids(fixed_rows)[1:] == ids(rows)


def test_equal_rows_of_two_files_have_different_ids() -> None:
    assert not set(ids([_ORDER, _PAGE], "a.csv")) & set(ids([_ORDER, _PAGE], "b.csv"))


def test_key_columns_identify_rows_across_files() -> None:
    def keyed_ids(file: str, *values: object) -> list[str]:
        rows = [{**_ORDER, "properties": {"order.id": value}} for value in values]
        return ids(rows, file, "properties.order.id", "event")

    assert keyed_ids("a.csv", 1, 2, 2)[1:] == keyed_ids("b.csv", 2) * 2
    assert len(set(keyed_ids("a.csv", 1, 2, "1", 1))) == 3


def test_empty_key_column_is_named() -> None:
    refusal = intake_of("a.csv", ("properties.id",)).take_in(
        FileRow(1, msgspec.json.encode(_ORDER), 0)
    )
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.field) == ("missing_key", "properties.id")


def test_key_columns_are_read_beside_half_a_surrogate_pair() -> None:
    raw = rb'{"type": "track", "event": "Cut \ud83d", "userId": "u1", "properties": {"id": 7}}'
    replaced_raw = raw.replace(rb"\ud83d", rb"\ufffd")
    interactions = [
        intake_of("a.ndjson", ("properties.id",)).take_in(FileRow(1, row, 0))
        for row in (raw, replaced_raw)
    ]
    assert isinstance(interactions[0], Interaction)
    assert interactions[0] == interactions[1]


def test_own_id_precedes_a_derived_one() -> None:
    own_id_message = {**_ORDER, "messageId": "m1"}
    assert ids([own_id_message, own_id_message], "a.csv", "event") == ["m1", "m1"]
    assert ids([_COMPLETE_RECORD], "a.csv", "name") == ["e1"]


def test_column_of_an_identifier_is_named() -> None:
    raw = msgspec.json.encode(
        {"kind": "page", "identifiers": [{"namespace": "email", "value": ""}]}
    )
    refusal = intake_of().take_in(FileRow(1, raw, 0, ("identifiers.email",)))
    assert isinstance(refusal, Refusal)
    assert refusal.field == "identifiers.email"


def _remove_field(field: str) -> dict[str, Any]:
    return {name: value for name, value in _COMPLETE_RECORD.items() if name != field}


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
        ({**_COMPLETE_RECORD, "kind": "timer"}, "invalid_field", "kind"),
        ({**_COMPLETE_RECORD, "identifiers": []}, "missing_identifier", "identifiers"),
        (_remove_field("identifiers"), "invalid_field", "identifiers"),
        (
            {**_COMPLETE_RECORD, "identifiers": [{"namespace": "cookie", "value": "null"}]},
            "invalid_identifier",
            "identifiers.0",
        ),
        (
            {**_COMPLETE_RECORD, "identifiers": [{"namespace": "tax", "value": "1"}]},
            "invalid_identifier",
            "identifiers.0",
        ),
        ({**_COMPLETE_RECORD, "event_id": ""}, "invalid_field", "event_id"),
        ({**_COMPLETE_RECORD, "event_id": " \t"}, "invalid_field", "event_id"),
        (
            {**_COMPLETE_RECORD, "properties": {"a": 1}, "lists": {"a": ["x"]}},
            "ambiguous_name",
            "lists.a",
        ),
        (
            {**_COMPLETE_RECORD, "properties": {"a": ["y"]}, "lists": {"a": ["x"]}},
            "ambiguous_name",
            "lists.a",
        ),
        (
            {**_COMPLETE_RECORD, "received_at": _NOW_MS + 2 * HOUR_MS},
            "in_the_future",
            "received_at",
        ),
        ({**_COMPLETE_RECORD, "occurred_at": _NOW_MS}, "in_the_future", "occurred_at"),
        ({**_COMPLETE_RECORD, "occurred_at": "yesterday"}, "invalid_time", "occurred_at"),
        ({**_COMPLETE_RECORD, "occurred_at": "1960-01-01"}, "invalid_time", "occurred_at"),
        (
            b'{"kind": "track", "identifiers": [], "properties": {"a": NaN}}',
            "not_finite",
            "properties.a",
        ),
        ({**_COMPLETE_RECORD, "properties": {"a": 2**70}}, "out_of_range", "properties.a"),
    ],
)
def test_refusal_names_the_field(value: object, code: str, field: str | None) -> None:
    refusal = take_in(value)
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.field) == (code, field)


def test_blank_times_of_an_interaction_are_the_present_time() -> None:
    interaction = take({**_COMPLETE_RECORD, "occurred_at": "", "received_at": " "})
    assert (interaction.occurred_at, interaction.received_at) == (_NOW_MS, _NOW_MS)
