"""Oddities of real exports: each is read by its meaning, or refused with a reason."""

import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

from pipeline.config import model
from pipeline.row_files.row import UnreadableError
from pipeline.row_files.unpacking import ContentLimits, unpack
from tests.unit.test_ingest_mapping import read_records

_WATCH = model.Watch(
    watch="w",
    source="s",
    folder="/in",
    kind="identify",
    columns={
        "id": "identifiers.customer_id",
        "spent": "traits.spent",
        "at": "time",
        "note": "traits.note",
    },
)
_HEADER = "id,spent,at,note\n"
_COMMA_OPTIONS = {"delimiter": ";", "decimal_comma": True}


def _read_rows(folder: Path, text: str | bytes, **csv: Any) -> list[Any]:
    path = folder / "a.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_records(path, replace(_WATCH, csv=model.CsvFormat(**csv)))


def _read_row(folder: Path, cells: str, **csv: Any) -> dict[str, Any]:
    """Return the traits and the customer of a row."""
    header = _HEADER.replace(",", csv.get("delimiter", ","))
    [row] = _read_rows(folder, f"{header}{cells}\n", **csv)
    assert isinstance(row, dict), row
    return {"id": row["identifiers"][0]["value"], **row.get("properties", {})}


@pytest.mark.parametrize(
    ("cells", "csv", "traits"),
    [
        # Words by which databases and spreadsheets mark an empty cell.
        (r"7,\N,\N,\N", {}, {}),
        ("7,NULL,,N/A", {"empty": ("NULL", "N/A")}, {}),
        ("7,NULL,,x", {}, {"spent": "NULL", "note": "x"}),
        # Quotes that are escaped and not doubled.
        (r'7,1,,"say \"no\", once"', {"escape": "\\"}, {"spent": 1, "note": 'say "no", once'}),
        # Numbers in groups of three.
        ('7,"1,234.50",,', {}, {"spent": 1234.5}),
        ('7,"1,234",,', {}, {"spent": "1,234"}),
        ("7;1 234,50;;600 111 222", _COMMA_OPTIONS, {"spent": 1234.5, "note": "600 111 222"}),
        ("7;-1\u00a0234\u00a0567,5;;1.234", _COMMA_OPTIONS, {"spent": -1234567.5, "note": 1234}),
        ("7;1\u202f234;;1'234,5", _COMMA_OPTIONS, {"spent": 1234, "note": 1234.5}),
        ("7;1.234\u00a0567,5;;x", _COMMA_OPTIONS, {"spent": "1.234\u00a0567,5", "note": "x"}),
        # Truth values of spreadsheets and of Python.
        ("7,TRUE,,False", {}, {"spent": True, "note": False}),
        # Formulas that make a spreadsheet treat a number as text, and invisible spaces.
        ('="007",="1",,', {}, {"id": "007", "spent": "1"}),
        ("\u00a07\u200b,1,,x", {}, {"spent": 1, "note": "x"}),
    ],
)
def test_cells_are_read_as_they_were_meant(
    tmp_path: Path, cells: str, csv: dict[str, Any], traits: dict[str, Any]
) -> None:
    assert _read_row(tmp_path, cells, **csv) == {"id": "7", **traits}


@pytest.mark.parametrize("text", ["1.23457E+11", "1,23457E+11", "1E+11"])
def test_number_that_a_spreadsheet_has_rounded_is_refused_as_an_identifier(
    tmp_path: Path, text: str
) -> None:
    [refusal] = _read_rows(tmp_path, f'{_HEADER}"{text}",1,,\n')
    assert refusal == (2, "invalid_identifier", "identifiers.customer_id")
    assert _read_row(tmp_path, "1E5,1,,")["id"] == "1E5"


@pytest.mark.parametrize(
    ("text", "csv"),
    [
        ("\ufeff\ufeff" + _HEADER + "7,1,,\n", {}),
        (_HEADER.replace("id", "\u200bid").replace("note", "note\u00a0") + "7,1,,\n", {}),
        (_HEADER + "7,1,,\n\x1a", {}),
        ("Report of November\n\n" + _HEADER + "7,1,,\n", {"skip": 1}),
        ("sep=,\n" + _HEADER + "7,1,,\n", {}),
    ],
)
def test_lines_around_the_table_are_no_rows(tmp_path: Path, text: str, csv: dict[str, Any]) -> None:
    [row] = _read_rows(tmp_path, text, **csv)
    assert row["properties"] == {"spent": 1}


def test_concatenated_files_are_read_as_one(tmp_path: Path) -> None:
    first_file, second_file = _HEADER + "7,1,,\n", "\ufeff" + _HEADER + "8,2,,\n"
    assert [
        row["properties"]["spent"] for row in _read_rows(tmp_path, first_file + second_file)
    ] == [
        1,
        2,
    ]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"PK\x03\x04", "a zip archive, or a workbook"),
        ("a.csv", b"\xd0\xcf\x11\xe0", "workbook"),
        ("a.csv", b"\x1f\x8b\x08", "a gzip archive"),
        ("a.csv", b"PAR1", "Parquet"),
        ("a.ndjson", b"Obj\x01", "an Avro container"),
        ("a.csv", _HEADER.encode("utf-32"), "UTF-32"),
        ("a.ndjson", b'[\n {"id": 7},\n {"id": 8}\n]\n', "one JSON array"),
        ("a.ndjson", b'[{"id": 7},\n{"id": 8}]', "one JSON array"),
        ("a.csv", b"Report of November\n" + _HEADER.encode(), "begins with 'Report of November'"),
    ],
)
def test_file_of_another_kind_is_named_by_its_kind(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UnreadableError, match=words):
        read_records(path, _WATCH)


def test_files_that_a_file_manager_adds_to_an_archive_are_ignored(tmp_path: Path) -> None:
    packed_file = tmp_path / "a.csv.zip"
    with zipfile.ZipFile(packed_file, "w") as archive:
        archive.writestr("out/a.csv", _HEADER)
        for litter in ("__MACOSX/out/._a.csv", "out/.DS_Store", "Thumbs.db"):
            archive.writestr(litter, "x")
    assert (
        unpack(packed_file, packed_file.name, tmp_path / "a.csv", ContentLimits(1_000, 500.0))
        == "a.csv"
    )
    assert (tmp_path / "a.csv").read_text() == _HEADER


def test_whole_numbers_stored_as_floats_identify_the_same_customers(tmp_path: Path) -> None:
    # Exporters store a column of whole numbers with gaps as floats.
    path = tmp_path / "a.parquet"
    table = {"id": [7.0, None, 8.5], "spent": [1, 2, 3], "at": [None] * 3, "note": ["x"] * 3}
    pq.write_table(pa.table(table), path)
    whole_row, empty_row, fraction_row = read_records(path, _WATCH)
    assert whole_row["identifiers"] == [{"namespace": "customer_id", "value": "7"}]
    assert empty_row == (2, "missing_identifier", "identifiers.customer_id")
    # Intake, a later step, refuses an id that is no text or whole number.
    assert fraction_row["identifiers"] == [{"namespace": "customer_id", "value": 8.5}]


def test_identifier_that_is_an_object_is_left_to_intake(tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    path.write_text('{"id": {"$numberLong": "7"}}\n{"id": 7.0}\n')
    export_row, plain_row = read_records(
        path, replace(_WATCH, columns={"id": "identifiers.customer_id"})
    )
    # Intake, a later step, refuses an id that is no text or whole number.
    assert export_row["identifiers"][0]["value"] == {"$numberLong": "7"}
    assert plain_row["identifiers"][0]["value"] == "7"
