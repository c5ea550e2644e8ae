"""Parquet: every type of Arrow has its value, or a refusal of its row that names the column."""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipeline.row_files.arrow_values import NoValue, values
from pipeline.row_files.row import FileFormat, FileRow, UnreadableError, UnreadableRow
from pipeline.row_files.rows import open_rows

_FORMAT = FileFormat(10_000)
_TIME_NS = 1_706_702_400_123_456_789
_DAY = date(2024, 1, 31)


def read(path: Path) -> list[tuple[int, Any]]:
    return [
        (
            row.line,
            msgspec.json.decode(row.raw) if isinstance(row, FileRow) else (row.code, row.field),
        )
        for row in open_rows(path, _FORMAT).rows()
    ]


def _array(elements: list[Any], kind: Any) -> Any:
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, pa.array(elements, kind.storage_type))
    return pa.array(elements, kind)


_LOCAL_TIME = pa.timestamp("ns", "Europe/Madrid")


@pytest.mark.parametrize(
    ("kind", "element", "value"),
    [
        (pa.bool_(), True, True),
        (pa.int8(), -3, -3),
        (pa.int64(), -(2**63), -(2**63)),
        (pa.uint8(), 255, 255),
        (pa.uint64(), 2**63 - 1, 2**63 - 1),
        (pa.float16(), 1.5, 1.5),
        (pa.float32(), 0.1, 0.1),
        (pa.float64(), 19.99, 19.99),
        (pa.decimal128(10, 2), Decimal("19.99"), 19.99),
        (pa.decimal128(10, 2), Decimal("20.00"), 20),
        (pa.decimal128(10, -2), Decimal(1200), 1200),
        (pa.decimal256(50, 3), Decimal("-0.125"), -0.125),
        (pa.decimal32(5, 1), Decimal("1.5"), 1.5),
        (pa.string(), "ñ", "ñ"),
        (pa.large_string(), "ñ", "ñ"),
        (pa.string_view(), "ñ", "ñ"),
        (pa.binary(), "ñ".encode(), "ñ"),
        (pa.large_binary(), b"a", "a"),
        (pa.binary_view(), b"a", "a"),
        (pa.binary(2), b"ab", "ab"),
        (pa.date32(), _DAY, "2024-01-31"),
        (pa.date64(), _DAY, "2024-01-31"),
        (pa.time32("s"), 3_723, "01:02:03"),
        (pa.time32("ms"), 3_723_004, "01:02:03.004"),
        (pa.time64("us"), 3_723_000_004, "01:02:03.000004"),
        (pa.time64("ns"), 3_723_000_000_005, "01:02:03.000000005"),
        (pa.timestamp("s"), _TIME_NS // 10**9, "2024-01-31T12:00:00"),
        (pa.timestamp("ms"), _TIME_NS // 10**6, "2024-01-31T12:00:00.123"),
        (pa.timestamp("us"), _TIME_NS // 10**3, "2024-01-31T12:00:00.123456"),
        (pa.timestamp("ns"), _TIME_NS, "2024-01-31T12:00:00.123456789"),
        (pa.timestamp("ns", "UTC"), _TIME_NS, "2024-01-31T12:00:00.123456789Z"),
        (_LOCAL_TIME, _TIME_NS, "2024-01-31T12:00:00.123456789Z"),
        (pa.timestamp("ns"), -1, "1969-12-31T23:59:59.999999999"),
        (pa.duration("s"), 2, 2_000),
        (pa.duration("ns"), 1_500_000, 1.5),
        (pa.null(), None, None),
        (pa.dictionary(pa.int8(), pa.string()), "a", "a"),
        (pa.list_(pa.decimal128(4, 1)), [Decimal("1.5"), None], [1.5, None]),
        (pa.large_list(pa.string()), ["a"], ["a"]),
        (pa.list_(pa.int8(), 2), [1, 2], [1, 2]),
        (pa.list_view(pa.int8()), [], []),
        (pa.struct([("a", pa.timestamp("ns")), ("b", pa.int8())]), {"a": _TIME_NS, "b": None},
         {"a": "2024-01-31T12:00:00.123456789"}),
        (pa.map_(pa.string(), pa.float32()), [("a", 0.1), ("b", None)], {"a": 0.1}),
        (pa.map_(pa.int32(), pa.string()), [(7, "x")], {"7": "x"}),
        (pa.map_(pa.string(), pa.list_(pa.date32())), [("a", [_DAY])], {"a": ["2024-01-31"]}),
        (pa.uuid(), bytes(range(16)), "00010203-0405-0607-0809-0a0b0c0d0e0f"),
        (pa.json_(), '{"a": 1}', '{"a": 1}'),
        (pa.bool8(), 1, True),
    ],
)  # fmt: skip
def test_every_type_has_its_value(kind: Any, element: Any, value: Any) -> None:
    read_values = values(_array([None, element, None], kind))
    assert list(read_values) == [None, value, None]
    assert type(read_values[1]) is type(value)
    assert list(values(_array([element, None, element], kind).slice(1))) == [None, value]


@pytest.mark.parametrize(
    ("kind", "element"),
    [
        (pa.uint64(), 2**63),
        (pa.decimal128(38, 0), Decimal(10**30)),
        (pa.float64(), float("inf")),
        (pa.float16(), float("-inf")),
        (pa.binary(), b"\xff"),
        (pa.timestamp("s"), 10**12),
        (pa.month_day_nano_interval(), pa.MonthDayNano([1, 2, 3])),
        (pa.list_(pa.binary()), [b"a", b"\xff"]),
        (pa.map_(pa.string(), pa.int8()), [("a", 1), ("a", 2)]),
        (pa.map_(pa.float64(), pa.int8()), [(1.5, 1)]),
        (pa.struct([("a", pa.uint64())]), {"a": 2**64 - 1}),
    ],
)
def test_element_without_a_value_has_a_reason(kind: Any, element: Any) -> None:
    [first_value, refusal, last_value] = values(_array([None, element, None], kind))
    assert first_value is None
    assert last_value is None
    assert isinstance(refusal, NoValue)
    assert refusal.reason


def test_encoded_arrays_have_the_values_that_they_represent() -> None:
    times = pa.array([_TIME_NS, None, _TIME_NS], pa.timestamp("ns"))
    expected = "2024-01-31T12:00:00.123456789"
    assert list(values(times.dictionary_encode())) == [expected, None, expected]
    assert list(values(pc.run_end_encode(times))) == [expected, None, expected]


def test_nan_is_an_empty_cell() -> None:
    for kind in (pa.float16(), pa.float32(), pa.float64()):
        assert list(values(pa.array([float("nan"), 1.0], kind))) == [None, 1.0]


def test_text_that_is_not_utf_8_refuses_its_row() -> None:
    array = pa.StringArray.from_buffers(
        2, pa.py_buffer(b"\0\0\0\0\1\0\0\0\5\0\0\0"), pa.py_buffer(b"acaf\xe9")
    )
    [text, refusal] = values(array)
    assert text == "a"
    assert isinstance(refusal, NoValue)


def test_flat_columns_and_nested_types_make_records(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    occurred_at = datetime(2024, 1, 31, 12, tzinfo=UTC)
    identifiers = [{"namespace": "cookie", "value": "c"}]
    page = {"kind": "page", "occurred_at": occurred_at, "identifiers": identifiers}
    rows = [
        {**page, "properties": None},
        {**page, "properties": [("a", 1.0)], "properties.b": 2},
    ]
    identifiers_type = pa.list_(pa.struct([("namespace", pa.string()), ("value", pa.string())]))
    schema = pa.schema(
        [
            ("kind", pa.string()),
            ("occurred_at", pa.timestamp("ns", tz="UTC")),
            ("identifiers", identifiers_type),
            ("properties", pa.map_(pa.string(), pa.float64())),
            ("properties.b", pa.decimal128(5, 1)),
        ]
    )
    pq.write_table(pa.Table.from_pylist(rows, schema), path)
    plain_record = {
        "kind": "page",
        "occurred_at": "2024-01-31T12:00:00Z",
        "identifiers": identifiers,
    }
    assert read(path) == [
        (1, plain_record),
        (2, {**plain_record, "properties": {"a": 1.0, "b": 2}}),
    ]


def test_refused_row_names_its_column_and_other_rows_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    columns = {
        "type": ["page"] * 3,
        "userId": ["a", "b", "c"],
        "properties.n": pa.array([1, 2**63, 3], pa.uint64()),
    }
    pq.write_table(pa.table(columns), path)
    assert [row if isinstance(row, tuple) else row["userId"] for _, row in read(path)] == [
        "a",
        ("invalid_value", "properties.n"),
        "c",
    ]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["type", "userId", "userId"], "'userId' appears twice"),
        (["type", "userId", "price"], "'price' is unknown"),
        (["type", "properties.a", "properties.a.b"], None),
    ],
)
def test_columns_that_would_be_lost_are_refused(
    tmp_path: Path, names: list[str], words: str | None
) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array(["page"])] * 3, names), path)
    if words is None:
        assert len(read(path)) == 1
        return
    with pytest.raises(UnreadableError, match=words):
        open_rows(path, _FORMAT)


def test_damaged_row_group_refuses_its_rows_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"type": ["page"] * 300, "userId": [f"user-{n}" for n in range(300)]})
    pq.write_table(table, path, row_group_size=100, compression="gzip", use_dictionary=False)
    column = pq.ParquetFile(path).metadata.row_group(1).column(1)
    content = bytearray(path.read_bytes())
    start = column.data_page_offset + column.total_compressed_size // 2
    content[start : start + 40] = bytes(40)
    path.write_bytes(content)
    rows = list(open_rows(path, _FORMAT).rows())
    refusals = [row for row in rows if isinstance(row, UnreadableRow)]
    assert [(row.line, row.rows, row.code) for row in refusals] == [(101, 100, "damaged")]
    assert len(rows) == 201


def test_damaged_column_name_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"userId": ["u1"]}), path)
    path.write_bytes(path.read_bytes().replace(b"userId", b"\x80serId"))
    with pytest.raises(UnreadableError, match=r"a\.parquet is not Parquet: .*utf-8"):
        open_rows(path, _FORMAT)


def test_files_that_are_no_parquet_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    for content in (b"", b"PAR?", b"PAR1" + b"x" * 100 + b"PAR1"):
        path.write_bytes(content)
        with pytest.raises(UnreadableError, match=r"a\.parquet is not Parquet"):
            open_rows(path, _FORMAT)


def test_long_text_shared_by_many_rows_is_read_in_bounded_memory(tmp_path: Path) -> None:
    path, row_count, long_text = tmp_path / "a.parquet", 5_000, "x" * 100_000
    notes = pa.DictionaryArray.from_arrays(
        pa.array([0] * row_count, pa.int32()), pa.array([long_text])
    )
    customer_ids = pa.array([f"c-{number}" for number in range(row_count)])
    columns = {"userId": customer_ids, "type": ["track"] * row_count, "event": ["E"] * row_count}
    pq.write_table(pa.table({**columns, "properties.note": notes}), path)
    assert path.stat().st_size < 1_000_000
    allocated_bytes = pa.total_allocated_bytes()
    opened_rows = open_rows(path, _FORMAT).rows()
    for _, row in zip(range(100), opened_rows, strict=False):
        assert isinstance(row, FileRow)
        assert len(row.raw) > len(long_text)
        assert pa.total_allocated_bytes() - allocated_bytes < 100_000_000
    assert sum(1 for _ in opened_rows) == row_count - 100
