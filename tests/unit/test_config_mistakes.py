"""Mistakes in marketers' YAML and spreadsheets: `kairos config validate` names file, line and
remedy of each."""

import io
from itertools import takewhile
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pipeline.cli.main import build_app
from tests.support.marketer_folder import (
    CAMPAIGN,
    CATALOG,
    HEADER,
    ROWS,
    TABLE,
    write_marketer_folder,
)

_BUDGET = "budget: {amount: 2500, currency: EUR, per: month, zone: Europe/Madrid}"
_POLICIES = "policies.yaml"
_PROFILE = "profile.yaml"
_CONTRADICTION = "no customer can match: these conditions contradict each other"


def _find_errors(folder: Path) -> list[str]:
    """Return the errors of `kairos config validate`, as `file:line: message`."""
    command = ["config", "validate", str(folder), "--json"]
    result = CliRunner().invoke(build_app("config"), command)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    report = msgspec.json.decode(result.stdout)
    assert (result.exit_code == 0) is report["valid"]
    return [f"{error['file']}:{error['line']}: {error['message']}" for error in report["errors"]]


def _put_mistake(folder: Path, file: str, old_text: str, new_text: str) -> int:
    """Put a mistake into a file of the folder; return its line."""
    path = folder / file
    text = path.read_bytes().decode()
    assert text.count(old_text) == 1, f"{old_text!r} is there {text.count(old_text)} times"
    path.write_bytes(text.replace(old_text, new_text).encode())
    same_start = takewhile(lambda pair: pair[0] == pair[1], zip(old_text, new_text, strict=False))
    return text[: text.index(old_text) + len(list(same_start))].count("\n") + 1


def test_folder_without_a_mistake_is_valid(tmp_path: Path) -> None:
    assert _find_errors(write_marketer_folder(tmp_path / "config")) == []


_YAML_CASES = [
    # Names and templates
    ("unknown name", CAMPAIGN, "Dear {{ first_name }}", "Dear {{ frist_name }}",
     "unknown trait 'frist_name': did you mean 'first_name'? (a property is written properties."),
    ("unknown attribute", CAMPAIGN, "{item.price}", "{item.prize}", "did you mean 'item.price'?"),
    ("smart quotes in a template", CAMPAIGN, "{{ first_name }}", "{{ first_name|default(“you”) }}",
     "write straight quotation marks inside {{ }}"),
    ("unclosed bracket", CAMPAIGN, "{{ first_name }}", "{{ first_name }", "a name is written {{"),
    ("Mustache section", CAMPAIGN, "{{ first_name }}", "{{#vip}}x{{/vip}}", "a name is written {{"),
    ("Liquid", CAMPAIGN, "{{ first_name }}", "{{ customer.first_name }}",
     "unknown trait 'customer."),
    ("AMPscript", CAMPAIGN, "Something for you", "Something for %%First Name%%", "{First Name}"),
    ("Mailchimp", CAMPAIGN, "Something for you", "For *|FNAME|*", "a name is written {FNAME}"),
    ("Salesforce", CAMPAIGN, "Something for you", "'For {!Contact.FirstName}'", "{FirstName}"),
    ("template literal", CAMPAIGN, "{{ first_name }}", "${first_name}", "first_name is not set"),
    ("renamed group", CAMPAIGN, "for: {group: fashion}", "for: {group: clothes}",
     "unknown group 'clothes': known: fashion"),
    ("another case", CAMPAIGN, "channel: web", "channel: WEB", "did you mean 'web'?"),
    ("renamed offer", _POLICIES, "{suppression: dismissed-twice, ",
     "{suppression: dismissed-twice, for: {offer: produkt}, ", "did you mean 'product'?"),
    ("renamed segment", CAMPAIGN, "{segment: buyers}", "{segment: buyer}",
     "did you mean 'buyers'?"),
    ("unknown trait", CATALOG, "trait: bought", "trait: buoght", "did you mean 'bought'?"),
    ("circle of segments", "segments/buyers.yaml", "{trait: purchases, gte: 1}", "{segment: loyal}",
     "segments depend on themselves: buyers -> loyal -> buyers"),
    ("contradiction", CAMPAIGN, "{segment: buyers}",
     "{all: [{segment: buyers}, {not: {segment: buyers}}]}", _CONTRADICTION),
    ("empty range", CAMPAIGN, "{segment: buyers}",
     "{all: [{trait: purchases, gte: 5}, {trait: purchases, lt: 3}]}", _CONTRADICTION),
    ("never sent", CAMPAIGN, "trigger: {name: purchase}\n", "", "no trigger sends this treatment"),
    ("no address of that kind", CAMPAIGN, "address: email", "address: phone", "unknown namespace"),
    ("unused default", CAMPAIGN, "defaults: {first_name", "defaults: {last_name", "first_name"),
    ("bucket of an unknown trait", _PROFILE, "rule: latest, of: properties.country",
     "rule: bucket, of: trait.spent, thresholds: [1]", "unknown trait 'spent'"),
    ("unknown feature", _PROFILE, "  - {name: first_name,",
     "scores: [{name: buys, features: [vews]}]  #", "did you mean 'views'?"),
    # Numbers
    ("negative cap", CAMPAIGN, "max: 2", "max: -2", "-2 is too small: 0 or more"),
    ("fractional cap", CAMPAIGN, "max: 2", "max: 2.5", "expected a whole number, found 2.5"),
    ("cap in words", CAMPAIGN, "max: 2", "max: twice", "expected a whole number"),
    ("negative cost", CAMPAIGN, "cost: 0.01", "cost: -0.01", "-0.01 is too small: 0 or more"),
    ("negative cost of a channel", "channels.yaml", "cost: 0.02", "cost: -0.02", "too small"),
    ("negative budget", CAMPAIGN, "amount: 2500", "amount: -2500", "too small: 0 or more"),
    ("negative margin", CATALOG, "margin: 0.3", "margin: -0.3", "too small: 0 or more"),
    ("decimal comma", CAMPAIGN, "cost: 0.01", "cost: 0,01", "found the text '0,01': write 0.01"),
    ("thousands", CAMPAIGN, _BUDGET, "budget: 2.500,00", "write 2500.00"),
    ("thousands by comma", CAMPAIGN, _BUDGET, "budget: 2,500.00", "write 2500.00"),
    ("thousands by space", CAMPAIGN, _BUDGET, "budget: 2 500", "write 2500"),
    ("thousands by point", CAMPAIGN, _BUDGET, "budget: 2.500", "write 2500, or 2.5000"),
    ("thousands in brackets", CAMPAIGN, "amount: 2500,", "amount: 2,500,", "a field's name is a"),
    ("euro sign", CAMPAIGN, _BUDGET, "budget: 2500 €", "write 2500, without its unit"),
    ("dollars", CAMPAIGN, _BUDGET, "budget: $2,500.00", "write 2500.00, without its unit"),
    ("quoted number", CAMPAIGN, "value: 10", 'value: "10"', "found the text '10': write 10"),
    ("per cent", CAMPAIGN, "p: 0.02", "p: 2%", "write 0.02 for 2%"),
    ("per cent with comma", CAMPAIGN, "holdout: 0.05", "holdout: 2,5 %", "write 0.025 for 2,5 %"),
    ("per cent without sign", CAMPAIGN, "holdout: 0.05", "holdout: 5", "(5 % is 0.05)"),
    ("probability above one", CAMPAIGN, "p: 0.02", "p: 2", "(2 % is 0.02)"),
    ("1e400", CAMPAIGN, "amount: 2500", "amount: 1e400", "'1e400': the number is not finite"),
    ("infinite number", CAMPAIGN, "cost: 0.01", "cost: .inf", "the number is not finite"),
    ("not a number", CAMPAIGN, "cost: 0.01", "cost: .nan", "the number is not finite"),
    ("missing value", CAMPAIGN, "value: 10", "value:", "expected a number, found nothing"),
    # Currencies, dates, durations, zones
    ("another currency", CAMPAIGN, "currency: EUR", "currency: USD",
     "a budget in USD, but money is in EUR here: convert the amount"),
    ("currency by its sign", CAMPAIGN, "currency: EUR", "currency: €", "three capital letters"),
    ("currency in lower case", CAMPAIGN, "currency: EUR", "currency: eur", "three capital letters"),
    ("31/02", CAMPAIGN, "starts: 2024-01-01", "starts: 31/02/2024", "not a date: write 2024-03-01"),
    ("30 February", CAMPAIGN, "starts: 2024-01-01", "starts: 2024-02-30", "is not a date"),
    ("American date", CAMPAIGN, "starts: 2024-01-01", "starts: 01/15/2024", "is not a date"),
    ("date in words", CAMPAIGN, "starts: 2024-01-01", "starts: 1 de enero de 2024", "not a date"),
    ("spreadsheet's date", CAMPAIGN, "starts: 2024-01-01", "starts: 45292", "write 2024-01-01"),
    ("zero date", CAMPAIGN, "starts: 2024-01-01", "starts: 0000-00-00", "is not a date"),
    ("ends before it starts", CAMPAIGN, "ends: 2030-12-31", "ends: 2020-12-31", "swap the dates"),
    ("date of a rate", _PROFILE, "since: 2024-01-01", "since: 45292", "write 2024-01-01"),
    ("duration in words", CAMPAIGN, "window: 7d", "window: 7 days", "30s, 5m, 12h, 7d"),
    ("duration in weeks", CAMPAIGN, "window: 7d", "window: 1w", "30s, 5m, 12h, 7d"),
    ("ISO duration", CAMPAIGN, "window: 7d", "window: P7D", "30s, 5m, 12h, 7d"),
    ("duration without unit", CAMPAIGN, "window: 7d", "window: 7", "add its unit: 30s, 5m"),
    ("too long a duration", CAMPAIGN, "window: 7d", f"window: {'9' * 20}d", "not a duration"),
    ("zone without its continent", CAMPAIGN, "Europe/Madrid", "Madrid", "no time zone 'Madrid'"),
    ("abbreviation of a zone", CAMPAIGN, "Europe/Madrid", "CEST", "no time zone 'CEST'"),
    ("yes", CAMPAIGN, "holdout: 0.05", "defer: yes",
     "expected true or false, found the text 'yes'"),
    # Characters with a meaning in YAML
    ("tab", CAMPAIGN, "  - {cap", "\t- {cap", "indent with spaces"),
    ("repeated key", CAMPAIGN, "holdout: 0.05", "owner: me", "'owner' occurs twice"),
    ("colon in a text", CAMPAIGN, "Something for you", "Sale: for you", "quote texts that contain"),
    ("hash before a text", CAMPAIGN, "Something for you", "#1 for you", "begins with # in"),
    ("hash in a text", CAMPAIGN, "Something for you", "Our #1 for you",
     "what follows # is a comment"),
    ("percent before a text", CAMPAIGN, "Something for you", "%10 off", "quote texts that begin"),
    ("at before a text", CAMPAIGN, "Something for you", "@home", "quote texts that begin"),
    ("star before a text", CAMPAIGN, "Something for you", "*New* for you", "or quote the text"),
    ("exclamation mark", CAMPAIGN, "Something for you", "!Hurry",
     "quote a text that begins with !"),
    ("ampersand", CAMPAIGN, "Something for you", "&more", "quote a text that begins with &"),
    ("bracket before a text", CAMPAIGN, "Something for you", "[Shop] for you", "begin with [, {"),
    ("name before a text", CAMPAIGN, "Something for you", "{first_name}, for you",
     "begin with [, {"),
    ("apostrophe", CAMPAIGN, "Something for you", "'Don't miss it'", "a quotation mark"),
    ("smart quotes", CAMPAIGN, "audience: {segment: buyers}",
     "audience: {trait: country, is: “ES”}", "write straight ones"),
    ("smart quotes around a name", CAMPAIGN, "channel: web", "channel: “web”", "straight ones"),
    # Invisible characters
    ("no-break space", CAMPAIGN, "holdout: 0.05", "holdout:\u00a00.05",
     "looks like a space (U+00A0)"),
    ("no-break indent", CAMPAIGN, "  - {cap", "\u00a0\u00a0- {cap", "looks like a space (U+00A0)"),
    ("no-break end", CAMPAIGN, "channel: web", "channel: web\u00a0", "not a name"),
    ("zero-width space", CAMPAIGN, "channel: web", "channel: w\u200beb",
     "invisible character (U+200B)"),
    ("vertical tab", CAMPAIGN, "Something for", "Something\x0bfor", "character (U+000B): remove"),
    ("bell", CAMPAIGN, "Something for", "Something\x07for", "character (U+0007): remove"),
    ("lost letter", CAMPAIGN, "Something for", "A\ufffdo for", "a letter was lost"),
    ("wrong encoding", CAMPAIGN, "Something for", "Año for".encode().decode("latin-1"),
     "was most likely 'Año for you'"),
    ("byte order mark inside a file", CAMPAIGN, "owner: shop", "\ufeffowner: shop",
     "did you mean 'owner'?"),
    # Files
    ("lost table", CATALOG, "products.csv", "product.csv", "cannot be read"),
    ("workbook", CATALOG, "products.csv", "products.xlsx", "cannot be read"),
    ("path of another folder", CATALOG, "products.csv", "/etc/passwd", "relative to the folder"),
    ("unknown column", CATALOG, "id: sku", "id: SKU", "did you mean 'sku'?"),
]  # fmt: skip
_IDS_WITHOUT_LINE = (
    *("lost table", "workbook", "path of another folder", "unknown column", "never sent"),
)


@pytest.mark.parametrize(
    ("file", "old_text", "new_text", "remedy"),
    [case[1:] for case in _YAML_CASES],
    ids=[case[0] for case in _YAML_CASES],
)
def test_mistake_in_yaml_is_named_with_line_and_remedy(
    tmp_path: Path,
    file: str,
    old_text: str,
    new_text: str,
    remedy: str,
    request: pytest.FixtureRequest,
) -> None:
    folder = write_marketer_folder(tmp_path / "config")
    line = _put_mistake(folder, file, old_text, new_text)
    messages = _find_errors(folder)
    matches = [message for message in messages if remedy in message]
    assert matches, "\n".join(messages) or "it is accepted"
    if request.node.callspec.id not in _IDS_WITHOUT_LINE:
        assert matches[0].startswith(f"{file}:{line}: "), (line, matches)


_BAD_ROWS = [
    ("repeated id", "A-1,Again,1,1,,", "sku 'A-1' is on line 2 too"),
    ("repeated id with a blank", "A-1 ,Again,1,1,,", "sku 'A-1' is on line 2 too"),
    ("repeated id with a no-break space", "A-1\u00a0,Again,1,1,,", "sku 'A-1' is on line 2 too"),
    ("zero-width space in an id", "A-1\u200b,Again,1,1,,",
     "invisible character (U+200B): remove it"),
    ("no id", ",B,1,1,,", "sku: '' is not an id"),
    ("rounded id", "8.41E+12,T,1,1,,", "a spreadsheet shortened: format the column as text"),
    ("apostrophe before an id", "'00123,T,1,1,,", "written for a spreadsheet"),
    ("formula around an id", '"=""00123""",T,1,1,,', "written for a spreadsheet"),
    ("decimal comma", 'A-4,T,"19,90",1,,', "price: '19,90' is not a number: write 19.90"),
    ("decimal comma without quotes", "A-4,T,19,90,1,,",
     "7 cells where the header has 6: put a cell"),
    ("thousands", 'A-4,T,"1,299.00",1,,', "write 1299.00"),
    ("thousands by point", "A-4,T,1.299,1,,", "write 1299, or 1.2990"),
    ("thousands with comma", 'A-4,T,"1.299,00",1,,', "write 1299.00"),
    ("thousands by space", "A-4,T,1 299,1,,", "write 1299"),
    ("euro sign", "A-4,T,€19.90,1,,", "write 19.90, without its unit"),
    ("currency", "A-4,T,19.90 EUR,1,,", "write 19.90, without its unit"),
    ("per cent", "A-4,T,10%,1,,", "write 0.1 for 10%"),
    ("negative price", "A-4,T,-5,1,,", "price: '-5' is not a number of 0 or more"),
    ("negative in brackets", "A-4,T,(5.00),1,,", "price: '(5.00)' is not a number"),
    ("1e400", "A-4,T,1e400,1,,", "is not a number of 0 or more"),
    ("1e300", "A-4,T,1e300,1,,", "1,000,000,000 at most"),
    ("N/A", "A-4,T,N/A,1,,", "price: 'N/A' is not a number"),
    ("error in a price", "A-4,T,#DIV/0!,1,,", "an error of the spreadsheet: fix its formula"),
    ("error in a text", "A-4,#REF!,1,1,,", "title: #REF! is an error of the spreadsheet"),
    ("fractional stock", "A-4,T,1,1.5,,", "stock: '1.5' is not a whole number"),
    ("thousands of pieces", "A-4,T,1,1.000,,", "write 1000, or 1.0000"),
    ("negative stock", "A-4,T,1,-3,,", "stock: '-3' is not a number of 0 or more"),
    ("stock in words", "A-4,T,1,in stock,,", "stock: 'in stock' is not a number"),
    ("31/02", "A-4,T,1,1,,31/02/2026", "until: '31/02/2026' is not a date: write 2026-02-28"),
    ("serial date", "A-4,T,1,1,,46022", "until: '46022' is not a date: write 2025-12-31"),
    ("ends before it starts", "A-4,T,1,1,2026-05-01,2026-01-01", "is before 2026-05-01"),
    ("missing cells", "A-4,T,1", "3 cells where the header has 6: write every cell"),
    ("open quotation mark", '"A-4,T,1,1,,\nA-5,T,1,1,,', "a quotation mark that opens here"),
    ("quotation mark in a cell", 'A-4,"T" x,1,1,,', 'write "" for a quotation mark'),
    ("too long a cell", f"A-4,{'x' * 200_000},1,1,,", "more than 131,072 characters"),
    ("bell", "A-4,T\x07x,1,1,,", "title: an invisible character (U+0007): remove it"),
    ("lost letter", "A-4,A\ufffdo,1,1,,", "title: a letter was lost"),
    ("wrong encoding", f"A-4,{'Año'.encode().decode('latin-1')},1,1,,", "was most likely 'Año'"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "remedy"),
    [case[1:] for case in _BAD_ROWS],
    ids=[case[0] for case in _BAD_ROWS],
)
def test_bad_row_of_a_spreadsheet_is_named_with_line_and_remedy(
    tmp_path: Path, row: str, remedy: str
) -> None:
    folder = write_marketer_folder(tmp_path / "config")
    (folder / TABLE).write_text(f"{HEADER}{ROWS}{row}\n")
    [error] = _find_errors(folder)
    assert error.startswith(f"{TABLE}:5: ")
    assert remedy in error


_SHEET = HEADER + ROWS
_BAD_FILES = [
    ("empty column", f"{HEADER}A-1,,1,1,2024-01-01,2026-12-31\n", 1,
     "column 'title' is empty in every"),
    ("missing column", _SHEET.replace("stock", "stok", 1), 1, "did you mean 'stok'?"),
    ("another case", _SHEET.replace("sku", "SKU", 1), 1, "did you mean 'SKU'?"),
    ("zero-width space in a column", _SHEET.replace("sku", "sku\u200b", 1), 1,
     "character (U+200B)"),
    ("repeated column", _SHEET.replace("title", "price", 1), 1, "column 'price' occurs twice"),
    ("title above the header", f"Catalogue of May\n{_SHEET}", 2,
     "put nothing above the line that names the"),
    ("no rows", HEADER, 1, "there are no rows"),
    ("empty file", "", 1, "there are no rows"),
    ("workbook", b"PK\x03\x04\x14\x00" + bytes(range(256)), 1, "a workbook: save its sheet as CSV"),
    ("Latin-1", _SHEET.replace("Red", "Añil").encode("latin-1"), 2, "save the file as UTF-8"),
    ("two million rows", HEADER + "".join(f"{i},x,1,1,,\n" for i in range(2_000_000)), 50_002,
     "more than 50,000 rows"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "line", "remedy"),
    [case[1:] for case in _BAD_FILES],
    ids=[case[0] for case in _BAD_FILES],
)
def test_bad_spreadsheet_is_named_with_line_and_remedy(
    tmp_path: Path, content: str | bytes, line: int, remedy: str
) -> None:
    folder = write_marketer_folder(tmp_path / "config")
    (folder / TABLE).write_bytes(content if isinstance(content, bytes) else content.encode())
    messages = _find_errors(folder)
    assert any(
        message.startswith(f"{TABLE}:{line}: ") and remedy in message for message in messages
    ), messages


_GOOD_FILES = {
    "semicolons": _SHEET.replace(",", ";"),
    "tabs": _SHEET.replace(",", "\t"),
    "pipes": _SHEET.replace(",", "|"),
    "named delimiter": "sep=;\n" + _SHEET.replace(",", ";"),
    "named delimiter after a blank line": "\nSEP=; \n" + _SHEET.replace(",", ";"),
    "named delimiter in quotation marks": '"sep=;"\n' + _SHEET.replace(",", ";"),
    "byte order mark": "\ufeff" + _SHEET,
    "Windows lines": _SHEET.replace("\n", "\r\n"),
    "old Mac lines": _SHEET.replace("\n", "\r"),
    "UTF-16": _SHEET.encode("utf-16"),
    "blanks around cells": _SHEET.replace(",", " , "),
    "rows of empty cells": f",,,,,\n{_SHEET},,,,,\n\n",
    "empty columns at the end": "".join(f"{line},,\n" for line in _SHEET.splitlines()),
    "line break in a cell": f'{_SHEET}A-4,"Two\nlines",1,1,,\n',
    "inches": f'{_SHEET}A-4,5" pipe,1,1,,\n',
    "last day of the calendar": f"{_SHEET}A-4,T,1,1,,9999-12-31\n",
}


@pytest.mark.parametrize("content", _GOOD_FILES.values(), ids=_GOOD_FILES)
def test_forms_of_spreadsheets_with_one_meaning_are_accepted(
    tmp_path: Path, content: str | bytes
) -> None:
    folder = write_marketer_folder(tmp_path / "config")
    (folder / TABLE).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert _find_errors(folder) == []


@pytest.mark.parametrize(
    ("old_text", "new_text"),
    [
        ("campaign: shop", "\ufeffcampaign: shop"),
        ("ends: 2030-12-31", "ends: 9999-12-31"),
        ("in: [ES, NO, PT]", "is: NO"),
        ("Europe/Madrid", "europe/madrid"),
        ("Something for you", "“Something” for you, don’t miss it"),
        ("Something for you", "Something for you   # a comment"),
        ("value: 10", "value: 1.25"),
        ("cost: 0.01", "cost: 0.015"),
    ],
)
def test_forms_of_yaml_with_one_meaning_are_accepted(
    tmp_path: Path, old_text: str, new_text: str
) -> None:
    folder = write_marketer_folder(tmp_path / "config")
    _put_mistake(folder, CAMPAIGN, old_text, new_text)
    assert _find_errors(folder) == []


@pytest.mark.parametrize("end", [b"\r\n", b"\r"])
def test_lines_of_other_systems_are_counted_as_they_are_shown(tmp_path: Path, end: bytes) -> None:
    folder = write_marketer_folder(tmp_path / "config")
    line = _put_mistake(folder, CAMPAIGN, "max: 2", "max: -2")
    path = folder / CAMPAIGN
    path.write_bytes(path.read_bytes().replace(b"\n", end))
    [error] = _find_errors(folder)
    assert error.startswith(f"{CAMPAIGN}:{line}: -2 is too small")


def test_unknown_operator_before_the_text_no_is_named(tmp_path: Path) -> None:
    # YAML 1.1 reads `NO` as false; here it is a text, so only the operator is wrong.
    folder = write_marketer_folder(tmp_path / "config")
    _put_mistake(folder, CAMPAIGN, "in: [ES, NO, PT]", "is: NO")
    path = folder / CAMPAIGN
    path.write_text(path.read_text().replace("is: NO", "is_no: NO"))
    [error] = _find_errors(folder)
    assert "is_no" in error


_PARQUET: dict[str, list[Any]] = {
    "sku": ["A", "B"],
    "title": ["x", "y"],
    "price": [1.0, 2.0],
    "stock": [1, 2],
    "from": ["2024-01-01", None],
    "until": [None, "2026-01-01"],
}


@pytest.mark.parametrize(
    ("columns", "line", "remedy"),
    [
        ({"sku": ["A", None]}, 2, "sku: '' is not an id"),
        ({"sku": ["A", "A "]}, 2, "sku 'A' is on line 1 too"),
        (
            {"title": [["a"], ["b"]]},
            1,
            "column 'title' holds list<element: string>: make it a text",
        ),
        ({"title": [b"a", b"b"]}, 1, "column 'title' holds binary: make it a text"),
        ({"stock": [True, False]}, 1, "stock: 'true' is not a number"),
        ({"price": [1.0, float("inf")]}, 2, "price: 'inf' is not a number of 0 or more"),
        ({"until": [None, "31/02/2026"]}, 2, "is not a date"),
    ],
)
def test_bad_parquet_table_is_named_with_row_and_remedy(
    tmp_path: Path, columns: dict[str, list[Any]], line: int, remedy: str
) -> None:
    messages = _find_errors(_use_parquet(tmp_path, pa.table({**_PARQUET, **columns})))
    assert any(
        message.startswith(f"products.parquet:{line}: ") and remedy in message
        for message in messages
    ), messages


def test_parquet_of_two_million_rows_is_refused(tmp_path: Path) -> None:
    large_table = pa.table({name: pa.repeat(pa.scalar("x"), 2_000_000) for name in _PARQUET})
    [error] = _find_errors(_use_parquet(tmp_path, large_table))
    assert "more than 50,000 rows" in error


def test_numbers_of_parquet_are_ids_as_they_are_in_profiles(tmp_path: Path) -> None:
    # A column with a missing number is stored as 1.0, where profiles have 1.
    assert not _find_errors(_use_parquet(tmp_path, pa.table({**_PARQUET, "sku": [1.0, 2.0]})))


def _use_parquet(tmp_path: Path, table: pa.Table) -> Path:
    folder = write_marketer_folder(tmp_path / "config")
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    (folder / "products.parquet").write_bytes(buffer.getvalue())
    _put_mistake(folder, CATALOG, "products.csv", "products.parquet")
    return folder
