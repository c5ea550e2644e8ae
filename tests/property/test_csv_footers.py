"""Footers of CSV files are refused, and no row of a customer is taken for a footer."""

import csv
import io
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline.config import model
from pipeline.config.regex import Pattern, pattern
from pipeline.row_files.mapping import row_mapping
from pipeline.row_files.row import FileFormat, FileRow, ReadRow, UnreadableRow
from pipeline.row_files.rows import open_rows
from tests.support.deciding import problems

_COLUMNS = {
    "id": "identifiers.customer_id",
    "name": "traits.name",
    "orders": "traits.orders",
    "spent": "traits.spent",
}
_WATCH = model.Watch("w", "shop", "/in", kind="identify", columns=_COLUMNS)
_HEADER = list(_COLUMNS)


def _read(text: str, footer: Pattern | None = None, watch: model.Watch = _WATCH) -> list[ReadRow]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        path.write_text(text, newline="")
        file_format = FileFormat(10_000, mapping=row_mapping(watch), footer=footer)
        return list(open_rows(path, file_format).rows())


def _table(rows: list[list[str]], delimiter: str = ";") -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(_HEADER)
    writer.writerows(rows)
    return text.getvalue()


def _customer_ids(rows: list[ReadRow]) -> list[str]:
    customers = [msgspec.json.decode(row.raw) for row in rows if isinstance(row, FileRow)]
    return [row["identifiers"][0]["value"] for row in customers]


_TOTALS = [
    "Total", "TOTAL", "Totals:", "Grand total", "Total general", "Suma", "Summe", "Gesamtsumme",
    "Sum", "Somme", "Totale", "Total rows", "EOF",
]  # fmt: skip
_SENTENCES = [
    "Total: 1", "total = 3", "Total rows: 12", "Total customers 12", "Rows: 3", "3 rows",
    "(3 rows affected)", "Registros: 1.234", "*** END OF FILE ***", "-- end of report --",
    "Fin del archivo", "Ende der Datei", "Total: 1.234,50 €",
]  # fmt: skip
_codes = st.from_regex(r"[A-Z]{1,3}-?[0-9]{1,6}", fullmatch=True)
_names = st.sampled_from(["Ana", "Bo", "Total", "Sum", "Mr. End", ""])
_amounts = st.sampled_from(["1", "0", "1.234,50", ""])
_customer_rows = st.lists(
    st.tuples(_codes, _names, _amounts, _amounts).map(list), min_size=1, max_size=6
)


@given(
    _customer_rows,
    st.sampled_from(_TOTALS + _SENTENCES),
    st.lists(_amounts, max_size=3),
    st.sampled_from(",;\t|"),
    st.sampled_from(["", "\r\n", ";;;\r\n"]),
)
def test_footer_under_codes_is_refused_and_every_row_is_read(
    rows: list[list[str]], label: str, amounts: list[str], delimiter: str, tail: str
) -> None:
    table = _table([*rows, [label, *amounts]], delimiter) + tail.replace(";", delimiter)
    results = _read(table)
    assert _customer_ids(results) == [row[0] for row in rows]
    [refusal] = [item for item in results if isinstance(item, UnreadableRow)]
    assert (refusal.line, refusal.code) == (len(rows) + 2, "footer")
    assert label in refusal.original


_words = st.sampled_from(["Total", "Sum", "alice", "Total Energies", "Acme", "7 Lines Ltd", "Fin"])


@given(st.lists(st.tuples(_words, _names, _amounts).map(list), min_size=1, max_size=6))
def test_customer_who_is_called_like_a_total_is_read_among_names(rows: list[list[str]]) -> None:
    complete_rows = [[*row, "1"] for row in [["bob", "", ""], *rows, ["alice", "", ""]]]
    assert _customer_ids(_read(_table(complete_rows))) == [row[0] for row in complete_rows]


@given(
    st.lists(
        st.tuples(st.sampled_from(["alice", "Total Energies", "Fin"]), _names, _amounts).map(list),
        max_size=3,
    ),
    st.sampled_from(_TOTALS),
    st.sampled_from(["12", "1.234,50", "EUR 12", "12 USD", "-"]),
)
def test_complete_total_under_names_is_refused_with_its_line(
    rows: list[list[str]], label: str, amount: str
) -> None:
    complete_rows = [[*row, "1"] for row in [*rows, ["bob", "Bo", "2"]]]
    total = [label, "", amount, amount]
    results = _read(_table([*complete_rows, total]))
    assert _customer_ids(results) == [row[0] for row in complete_rows]
    [refusal] = [item for item in results if isinstance(item, UnreadableRow)]
    assert (refusal.line, refusal.code) == (len(complete_rows) + 2, "footer")
    assert label in refusal.original


@given(st.sampled_from(_TOTALS), st.sampled_from(["Bo", "Total GmbH", "sum@shop.example"]))
def test_last_customer_who_is_called_like_a_total_is_recognised_by_a_text(
    customer_id: str, name: str
) -> None:
    results = _read(_table([["bob", "", "1", "1"], [customer_id, name, "1", "1"]]))
    assert _customer_ids(results) == ["bob", customer_id]


def test_complete_total_in_a_table_of_two_columns_is_refused() -> None:
    watch = replace(_WATCH, columns={"id": "identifiers.customer_id", "spent": "traits.spent"})
    results = _read("id;spent\nbob;7\nalice;5\nTotal;12\n", watch=watch)
    assert _customer_ids(results) == ["bob", "alice"]
    [refusal] = [item for item in results if isinstance(item, UnreadableRow)]
    assert (refusal.line, refusal.original) == (4, "Total;12\n")


_text = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=12)


@given(st.lists(st.tuples(_codes | _text, _text).map(list), min_size=1, max_size=8))
def test_no_row_above_another_is_refused_as_a_footer(rows: list[list[str]]) -> None:
    last_row = ["K-9", "Ana", "1", "1"]
    totals = [["Total", *row[1:]] for row in rows]
    for body in (rows, totals):
        assert _customer_ids(_read(_table([*body, last_row])))[-1] == "K-9"
        results = _read(_table([*body, last_row]))
        assert not [
            row for row in results if isinstance(row, UnreadableRow) and row.code == "footer"
        ]


@pytest.mark.parametrize(
    "last_row",
    [
        ["K9"],
        ["Total Energies SA", "Total", "1", "1"],
        ["7 Lines Ltd", "", "", "1"],
        ["Summer", "", "", "1"],
        ["totally", "", "", "1"],
        ["ana@total.example", "", "", "1"],
        ["Fin de Siglo SA", "Ana", "1", "1"],
    ],
)
def test_last_row_that_only_resembles_a_footer_is_read(last_row: list[str]) -> None:
    results = _read(_table([["K1", "Ana", "1", "1"], ["K2", "Bo", "1", "1"], last_row]))
    assert _customer_ids(results) == ["K1", "K2", last_row[0]]


def test_lines_beside_a_total_are_refused_with_it() -> None:
    results = _read("id;name;spent;orders\nK1;Ana;1;1\nTotal;;1;1\n;;;checked\nExported on 1 May\n")
    assert _customer_ids(results) == ["K1"]
    codes = [item.code for item in results if isinstance(item, UnreadableRow)]
    assert codes == ["footer", "missing_identifier", "footer"]


def test_each_of_concatenated_files_has_its_footer() -> None:
    text = "id;name;spent;orders\nK1;Ana;1;1\nTotal: 1\n"
    results = _read(text + text)
    assert _customer_ids(results) == ["K1", "K1"]
    assert [row.line for row in results if isinstance(row, UnreadableRow)] == [3, 6]


def test_only_the_configured_footer_is_left_out() -> None:
    rows = "id;name;spent;orders\nTRL;;1;1\nK1;Ana;1;1\nTotal: 2\nTRL;2;;\n"
    footer_pattern = pattern("TRL.*")
    assert isinstance(footer_pattern, Pattern)
    results = _read(rows, footer_pattern)
    assert _customer_ids(results) == ["TRL", "K1", "Total: 2"]
    assert all(isinstance(row, FileRow) for row in results)
    no_footer = pattern("")
    assert isinstance(no_footer, Pattern)
    assert _customer_ids(_read(rows, no_footer)) == ["TRL", "K1", "Total: 2", "TRL"]


def test_invalid_footer_pattern_is_named() -> None:
    watch = {"watch": "w", "source": "shop", "folder": "/in", "csv": {"footer": "(TRL"}}
    [(place, reason)] = problems(ingest={"watches": [watch]})
    assert place == "ingest/watches/0/csv/footer"
    assert "not a regular expression" in reason
