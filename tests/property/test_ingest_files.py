"""Every row of a file is accounted for, in bounded memory and time, whatever the file holds."""

import csv
import io
import json
import math
import tracemalloc
from collections.abc import Iterable
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.config.model import Source
from pipeline.model.interaction import Interaction
from pipeline.row_files.row import FileFormat, FileRow, UnreadableError, UnreadableRow
from pipeline.row_files.row_ids import RowIds
from pipeline.row_files.row_intake import RowIntake
from pipeline.row_files.rows import open_rows
from pipeline.row_files.sending import SendReport, send_rows
from tests.support.worlds import plain_rules

_MAX_BYTES = 2_000
_FORMAT = FileFormat(_MAX_BYTES)
_NOW_MS = 1_800_000_000_000
_SOURCE = Source("file", "file", "unused-key")
_MEMORY_BYTES = 8_000_000

pytestmark = pytest.mark.timeout(120)


def _read(
    name: str, content: bytes
) -> tuple[list[FileRow | UnreadableRow], UnreadableError | None]:
    """Read a file in bounded memory; return its rows, and the error that ended the reading or
    None."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        rows: list[FileRow | UnreadableRow] = []
        tracemalloc.start()
        try:
            rows.extend(open_rows(path, _FORMAT).rows())
        except UnreadableError as error:
            return rows, error
        finally:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert peak < _MEMORY_BYTES
        return rows, None


def _send(rows: Iterable[FileRow | UnreadableRow]) -> tuple[SendReport, list[Interaction]]:
    interactions: list[Interaction] = []
    intake = RowIntake(plain_rules().config, _SOURCE, _MAX_BYTES, _NOW_MS, RowIds("f"))
    return send_rows(rows, intake, interactions.append, lambda _: None), interactions


def _check_counts(rows: list[FileRow | UnreadableRow]) -> SendReport:
    """Check that every row is sent or refused, each time with the same result; return the
    report."""
    report, interactions = _send(rows)
    assert report.sent == len(interactions)
    assert report.sent + report.refused == sum(
        row.rows if isinstance(row, UnreadableRow) else 1 for row in rows
    )
    assert _send(rows) == (report, interactions)
    return report


_cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
_tables = st.lists(st.lists(_cells, min_size=3, max_size=3), max_size=8)
_HEADER = ("type", "anonymousId", "properties.x")


@given(_tables, st.sampled_from(",;\t|"), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
@example([["", "", "\x1a"]], ",", "utf-8")
def test_written_csv_is_read_back_row_by_row(
    table: list[list[str]], delimiter: str, encoding: str
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(_HEADER)
    writer.writerows(table)
    rows, error = _read("a.csv", text.getvalue().encode(encoding))
    assert error is None
    records = [msgspec.json.decode(row.raw) for row in rows if isinstance(row, FileRow)]
    expected = [cells for cells in table if any(cell.strip() for cell in cells)]
    assert len(records) == len(rows) == len(expected)
    for record, cells in zip(records, expected, strict=True):
        assert record.get("type", "") == cells[0]
        assert record.get("anonymousId", "") == cells[1]
    _check_counts(rows)


_VALID_ROW = b"page,c,1\n"
_noise = st.binary(max_size=60) | st.lists(
    st.sampled_from([b'"', b'""', b",", b"\n", b"\r\n", b"\xe9", b"\0", b"a", b"1,5", b"\xff"]),
    max_size=20,
).map(b"".join)


@given(st.lists(_noise, max_size=6))
def test_bad_rows_of_csv_do_not_end_its_reading(
    noise: list[bytes],
) -> None:
    # Each valid row follows a line that closes every quote.
    body = b"".join(part + b'\n"\n' + _VALID_ROW for part in noise) + _VALID_ROW
    rows, error = _read("a.csv", ",".join(_HEADER).encode() + b"\n" + body)
    assert error is None
    report = _check_counts(rows)
    assert report.sent >= 1
    lines = [row.line for row in rows]
    assert lines == sorted(set(lines))


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused_in_every_format(content: bytes) -> None:
    for name in ("a.csv", "a.tsv", "a.ndjson", "a.parquet"):
        rows, _ = _read(name, content)
        _check_counts(rows)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=4), values),
    max_leaves=6,
)
_records = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["track", "page", "identify"]) | _json,
        "event": _json,
        "userId": _json,
        "anonymousId": st.just("c"),
        "messageId": _json,
        "timestamp": st.sampled_from([1_700_000_000, "2024-01-31", 1e300]) | _json,
        "properties": st.dictionaries(st.text(max_size=4), _json) | _json,
        "context": _json,
    },
)


@given(st.lists(_records | _json, max_size=6), st.booleans())
@example([[math.inf]], False)
def test_every_line_of_ndjson_is_a_row(records: list[Any], ends_with_break: bool) -> None:
    lines = [_encode(record) for record in records]
    rows, error = _read("a.ndjson", b"\n".join(lines) + (b"\n" if ends_with_break else b""))
    assert error is None
    assert len(rows) == len(lines)
    assert [row.line for row in rows] == list(range(1, len(lines) + 1))
    _check_counts(rows)


def _encode(record: Any) -> bytes:
    return json.dumps(record, ensure_ascii=False).encode("utf-8", "replace")


_KINDS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    (pa.uint64(), st.integers(0, 2**64 - 1)),
    (pa.float32(), st.floats(width=32)),
    (pa.float64(), st.floats()),
    (pa.string(), st.text(st.characters(exclude_categories=["Cs"]), max_size=8)),
    (pa.binary(), st.binary(max_size=8)),
    (pa.decimal128(20, 4), st.decimals(-(10**15), 10**15, places=4)),
    (pa.date32(), st.dates()),
    (pa.timestamp("ns"), st.integers(-(2**63), 2**63 - 1)),
    (pa.timestamp("s", "UTC"), st.integers(-(2**40), 2**40)),
    (pa.time64("ns"), st.integers(0, 86_399_999_999_999)),
    (pa.duration("us"), st.integers(-(2**62), 2**62)),
    (pa.list_(pa.float64()), st.lists(st.floats(), max_size=3)),
    (pa.map_(pa.string(), pa.int8()), st.lists(st.tuples(st.sampled_from("ab"), st.just(1)))),
    (pa.struct([("a", pa.binary())]), st.fixed_dictionaries({"a": st.binary(max_size=2)})),
]


@st.composite
def _columns(draw: st.DrawFn) -> dict[str, Any]:
    count = draw(st.integers(0, 5))
    kinds = draw(st.lists(st.sampled_from(_KINDS), max_size=4))
    columns = {
        f"properties.p{number}": pa.array(
            draw(st.lists(st.none() | strategy, min_size=count, max_size=count)), kind
        )
        for number, (kind, strategy) in enumerate(kinds)
    }
    return {"type": ["page"] * count, "userId": [f"u{n}" for n in range(count)], **columns}


@given(_columns())
def test_every_row_of_parquet_is_read_for_any_types(columns: dict[str, Any]) -> None:
    table = pa.table(columns)
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    rows, error = _read("a.parquet", buffer.getvalue())
    assert error is None
    assert [row.line for row in rows] == list(range(1, table.num_rows + 1))
    _check_counts(rows)


@given(st.data())
def test_parquet_that_is_damaged_is_refused_or_accounted_for(data: st.DataObject) -> None:
    buffer = io.BytesIO()
    columns = {"type": ["page"] * 50, "userId": [f"u{n}" for n in range(50)]}
    pq.write_table(pa.table(columns), buffer, row_group_size=10, use_dictionary=False)
    content = bytearray(buffer.getvalue())
    for index in data.draw(st.lists(st.integers(4, len(content) - 1), min_size=1, max_size=3)):
        content[index] = data.draw(st.integers(0, 255))
    parquet_rows, error = _read("a.parquet", bytes(content))
    report = _check_counts(parquet_rows)
    if error is None:
        metadata = pq.ParquetFile(io.BytesIO(bytes(content))).metadata
        row_counts = [
            metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)
        ]
        assert report.sent + report.refused == sum(max(0, row_count) for row_count in row_counts)


def test_many_bad_quotes_do_not_take_long() -> None:
    # After a bad quote, reading resumes at the next line: each line is read a few times at most.
    for line in (b'page,"c,1\n', b'page,c,"1\n', b'"page\n', b'page,"""c,1\n', b'"""\n'):
        rows, error = _read("a.csv", ",".join(_HEADER).encode() + b"\n" + line * 5_000)
        assert error is None
        assert rows
        _check_counts(list(takewhile(lambda row: row.line < 500, rows)))
