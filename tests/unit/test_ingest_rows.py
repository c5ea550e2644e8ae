"""The three formats give the same rows, and tell where each stands."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.ingest.rows import UnreadableError, open_rows

_MAX = 1_000


def read(path: Path) -> list[tuple[int, Any]]:
    return [(row.line, msgspec.json.decode(row.raw)) for row in open_rows(path, _MAX).rows()]


def test_ndjson_counts_lines_and_skips_empty_ones(tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    path.write_bytes(b'\xef\xbb\xbf{"type": "track"}\r\n\n  \n{"kind": "page"}')
    assert read(path) == [(1, {"type": "track"}), (4, {"kind": "page"})]


def test_a_line_too_long_is_cut_and_the_next_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    path.write_bytes(b'{"long": "' + b"x" * 5_000 + b'"}\n{"type": "track"}\n')
    first, second = open_rows(path, _MAX).rows()
    assert _MAX < len(first.raw) < 2 * _MAX
    assert (second.line, second.raw) == (2, b'{"type": "track"}')


def test_csv_columns_are_nested_fields_and_properties_have_types(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        "type,event,userId,timestamp,properties.price,properties.sku,properties.gift,context\n"
        'track,Order,007,1700000000000,12.5,0042,true,"{""ip"": ""192.0.2.1""}"\n'
        'track,"two\nlines",8,2024-01-01,-3,,false,\n'
        ",,,,,,,\n"
        "track,Short,9\n"
    )
    order = {"price": 12.5, "sku": "0042", "gift": True}
    assert read(path) == [
        (
            2,
            {
                "type": "track",
                "event": "Order",
                "userId": "007",
                "timestamp": 1_700_000_000_000,
                "properties": order,
                "context": {"ip": "192.0.2.1"},
            },
        ),
        (
            4,
            {
                "type": "track",
                "event": "two\nlines",
                "userId": "8",
                "timestamp": "2024-01-01",
                "properties": {"price": -3, "gift": False},
            },
        ),
        (6, {"type": "track", "event": "Short", "userId": "9"}),
    ]


def test_csv_identifiers_are_those_of_an_interaction(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("kind,name,identifiers.email,identifiers.cookie\ntrack,Order,ada@a.example,\n")
    assert read(path) == [
        (
            2,
            {
                "kind": "track",
                "name": "Order",
                "identifiers": [{"namespace": "email", "value": "ada@a.example"}],
            },
        )
    ]


def test_parquet_takes_flat_columns_and_nested_types(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    at = datetime(2024, 1, 31, 12, tzinfo=UTC)
    identifiers = [{"namespace": "cookie", "value": "c"}]
    table = pa.Table.from_pylist(
        [
            {"kind": "page", "occurred_at": at, "identifiers": identifiers, "properties": None},
            {
                "kind": "page",
                "occurred_at": at,
                "identifiers": identifiers,
                "properties": [("a", 1.0)],
            },
        ],
        pa.schema(
            [
                ("kind", pa.string()),
                ("occurred_at", pa.timestamp("ms", tz="UTC")),
                (
                    "identifiers",
                    pa.list_(pa.struct([("namespace", pa.string()), ("value", pa.string())])),
                ),
                ("properties", pa.map_(pa.string(), pa.float64())),
                ("properties.b", pa.float64()),
            ]
        ),
    )
    pq.write_table(table, path)
    plain = {"kind": "page", "occurred_at": "2024-01-31T12:00:00Z", "identifiers": identifiers}
    assert read(path) == [(1, plain), (2, {**plain, "properties": {"a": 1.0}})]


def test_what_is_no_file_of_its_format_is_named(tmp_path: Path) -> None:
    for name, content in (("a.parquet", b"PAR?"), ("a.csv", b"type\n\xff\xfe\n")):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(UnreadableError, match=name):
            read(path)
    with pytest.raises(UnreadableError, match="not a file"):
        open_rows(tmp_path / "missing.ndjson", _MAX)


def test_more_cells_than_columns_name_the_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("type,event\ntrack,Order\ntrack,Order,extra\n")
    with pytest.raises(UnreadableError, match=r"a\.csv:3: 3 cells under 2 columns"):
        read(path)
