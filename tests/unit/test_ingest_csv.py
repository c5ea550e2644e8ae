"""CSV as it is sent in practice: readable rows are read, and unreadable ones are refused alone."""

import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline.row_files.row import FileFormat, FileRow, UnreadableError
from pipeline.row_files.rows import open_rows

_MAX_ROW_BYTES = 1_000
_HEADER = "type,event,userId,properties.price\n"


@pytest.fixture
def read_table(tmp_path: Path) -> Any:
    """Function that reads a CSV, and returns each row's line with its record, or with code and
    field of its refusal."""

    def read(content: str | bytes, **options: Any) -> list[tuple[int, Any]]:
        path = tmp_path / "a.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        rows = open_rows(path, FileFormat(_MAX_ROW_BYTES, **options)).rows()
        return [
            (
                row.line,
                msgspec.json.decode(row.raw) if isinstance(row, FileRow) else (row.code, row.field),
            )
            for row in rows
        ]

    return read


def order(price: object = 1, user: str = "u") -> dict[str, Any]:
    return {"type": "track", "event": "Order", "userId": user, "properties": {"price": price}}


def test_columns_are_nested_fields_and_properties_have_types(read_table: Any) -> None:
    text = (
        "type,event,userId,timestamp,properties.price,properties.sku,properties.gift,context\n"
        'track,Order,007,1700000000000,12.5,0042,true,"{""ip"": ""192.0.2.1""}"\n'
        'track,"two\nlines",8,2024-01-01,-3,,false,\n'
        ",,,,,,,\n"
        "track,Short,9\n"
    )
    first_row = {
        "type": "track",
        "event": "Order",
        "userId": "007",
        "timestamp": "1700000000000",
        "properties": {"price": 12.5, "sku": "0042", "gift": True},
        "context": {"ip": "192.0.2.1"},
    }
    second_row = {
        "type": "track",
        "event": "two\nlines",
        "userId": "8",
        "timestamp": "2024-01-01",
        "properties": {"price": -3, "gift": False},
    }
    assert read_table(text) == [
        (2, first_row),
        (3, second_row),
        (6, {"type": "track", "event": "Short", "userId": "9"}),
    ]


def test_context_is_nested_as_deep_as_its_fields_are(read_table: Any) -> None:
    [(_, row)] = read_table(
        "type,anonymousId,context.page.url,context.campaign.name,context.device.id,"
        "context.traits.plan,context.consent.categoryPreferences.ads\n"
        "page,c,https://a.example,spring,d1,3,TRUE\n"
    )
    assert row["context"] == {
        "page": {"url": "https://a.example"},
        "campaign": {"name": "spring"},
        "device": {"id": "d1"},
        "traits": {"plan": 3},
        "consent": {"categoryPreferences": {"ads": True}},
    }


def test_identifier_columns_become_identifiers_of_an_interaction(read_table: Any) -> None:
    assert read_table("kind,identifiers.email,identifiers.cookie\npage,ada@a.example,\n") == [
        (2, {"kind": "page", "identifiers": [{"namespace": "email", "value": "ada@a.example"}]})
    ]


def test_json_lists_are_parsed_and_other_brackets_are_text(read_table: Any) -> None:
    text = _HEADER + 'track,Order,u,"[""a"", 2]"\ntrack,Order,u,[sic]\ntrack,[1],u,\n'
    assert [row for _, row in read_table(text)] == [
        order(["a", 2]),
        order("[sic]"),
        {"type": "track", "event": "[1]", "userId": "u"},
    ]


@pytest.mark.parametrize(
    ("encoding", "encoding_option"),
    [
        ("utf-8", None),
        ("utf-8-sig", None),
        ("utf-8-sig", "utf-8"),
        ("utf-16", None),
        ("utf-16-le", None),
        ("utf-16-be", None),
        ("latin-1", "latin-1"),
        ("cp1252", "Windows-1252"),
        ("iso-8859-15", "iso-8859-15"),
        ("shift_jis", "shift_jis"),
    ],
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_encodings_are_detected_or_configured(
    read_table: Any, encoding: str, encoding_option: str | None, line_end: str
) -> None:
    name = "Ñandú" if encoding != "shift_jis" else "日本"
    text = (_HEADER + f"track,Order,{name},1\ntrack,Order,b,2\n").replace("\n", line_end)
    assert read_table(text.encode(encoding), encoding=encoding_option) == [
        (2, order(1, name)),
        (3, order(2, "b")),
    ]


@pytest.mark.parametrize(
    ("text", "delimiter_option"),
    [
        ("type;event;userId;properties.price\ntrack;Order;u;1\n", None),
        ("type\tevent\tuserId\tproperties.price\ntrack\tOrder\tu\t1\n", None),
        ("type|event|userId|properties.price\ntrack|Order|u|1\n", None),
        ("sep=;\ntype;event;userId;properties.price\ntrack;Order;u;1\n", None),
        ("type^event^userId^properties.price\ntrack^Order^u^1\n", "^"),
        ("type\tevent\tuserId\tproperties.price\ntrack\tOrder\tu\t1\n", "tab"),
        ('"type";"event";"userId";"properties.a,b,c,d"\ntrack;Order;u;1\n', None),
    ],
)
def test_delimiters_are_detected_or_configured(
    read_table: Any, text: str, delimiter_option: str | None
) -> None:
    [(_, row)] = read_table(text, delimiter=delimiter_option)
    assert (row["event"], row["userId"], *row["properties"].values()) == ("Order", "u", 1)


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("1.234,50", 1234.5),
        ("1.234.567", 1234567),
        ("0,5", 0.5),
        ("-12,25", -12.25),
        ("1234", 1234),
        ("1.23", ("invalid_number", "properties.price")),
        ("007", "007"),
    ],
)
def test_decimal_comma_is_an_option(read_table: Any, cell: str, value: object) -> None:
    text = f"type;event;userId;properties.price\ntrack;Order;u;{cell}\n"
    expected = value if isinstance(value, tuple) else order(value)
    assert read_table(text, decimal_comma=True) == [(2, expected)]
    assert read_table(text.replace(cell, "1.234,50")) == [(2, order("1.234,50"))]


_ROW = "track,Order,u,1\n"


@pytest.mark.parametrize(
    ("bad_row", "code", "field"),
    [
        (b"track,Order,caf\xe9,1\n", "not_text", "userId"),
        (b"track,Order,u,a\xffb\n", "not_text", "properties.price"),
        (b"track,Or\0der,u,1\n", "not_text", "event"),
        (b"track,Order,u,1,extra\n", "too_many_cells", None),
        (b'track,"Or"der,u,1\n', "invalid_csv", None),
        (b'track,"Order,u,1\n', "invalid_csv", None),
        (b"track,Order," + b"x" * 2_000 + b",1\n", "too_large", None),
        (b'track,"' + b"x" * 2_000 + b'",u,1\n', "too_large", None),
    ],
)
def test_bad_row_is_refused_alone_with_its_line_and_column(
    read_table: Any, bad_row: bytes, code: str, field: str | None
) -> None:
    good_row = _ROW.encode()
    content = (
        _HEADER.encode() + good_row + bad_row + good_row + b'track,"two\nlines",u,1\n' + good_row
    )
    multiline_row = {**order(), "event": "two\nlines"}
    assert read_table(content) == [
        (2, order()),
        (3, (code, field)),
        (4, order()),
        (5, multiline_row),
        (7, order()),
    ]


def test_unclosed_quote_refuses_one_line_in_a_file_of_any_length(read_table: Any) -> None:
    rows = read_table(_HEADER + 'track,"Order,u,1\n' + _ROW * 500)
    assert rows[0] == (2, ("too_large", None))
    assert rows[1:] == [(line, order()) for line in range(3, 503)]
    assert read_table(_HEADER + _ROW + 'track,"Order,u,1\n' + _ROW)[1:] == [
        (3, ("invalid_csv", None)),
        (4, order()),
    ]


def test_blank_lines_and_repeated_headers_are_no_rows(read_table: Any) -> None:
    text = _HEADER + "\n" + _ROW + ",,,\n" + _HEADER + _ROW.strip() + ",,\n" + "\n\n  \n"
    rows = read_table(text)
    assert rows == [(3, order()), (6, order())]


def test_last_row_that_is_cut_off_is_refused(read_table: Any) -> None:
    assert read_table(_HEADER + _ROW + "track,Order,u") == [(2, order()), (3, ("cut_off", None))]
    assert read_table(_HEADER + "track,Order,u,1") == [(2, order())]


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("type,event,event,userId", "'event' appears twice"),
        ("type,properties.a,userId,properties.a", "'properties.a' appears twice"),
        ("type,event,userId,price", "'price' is unknown"),
        ("type,event,userId,context.browser", "'context.browser' is unknown"),
        ("type,event,event.x,userId", "'event.x' is unknown"),
        ("type,properties.a,properties.a.b,userId", None),
        ("type,context.campaign,context.campaign.name,userId", "is part of 'context.campaign'"),
        ("kind,name,identifiers,identifiers.email", "in one column or in several"),
        ("kind,name,userId,identifiers.email", "'userId' is unknown"),
        ("a,b,c", "is unknown"),
        ("", "empty"),
        ("\n\n", "empty"),
        (",,,", "no columns|empty"),
        ('type,"event', "quote"),
    ],
)
def test_unusable_header_is_refused_with_the_reason(
    read_table: Any, header: str, words: str | None
) -> None:
    if words is None:
        assert read_table(header + "\n") == []
        return
    with pytest.raises(UnreadableError, match=words):
        read_table(header + "\n")


def test_columns_configured_as_ignored_are_dropped(read_table: Any) -> None:
    text = "type,event,userId,price,properties.price\ntrack,Order,u,9,1\n"
    assert read_table(text, ignored_columns=frozenset({"price"})) == [(2, order())]


def test_no_cell_overwrites_another(read_table: Any) -> None:
    text = "type,event,userId,properties,properties.price\n"
    assert read_table(text + 'track,Order,u,"{""price"": 2}",1\n') == [
        (2, ("given_twice", "properties.price"))
    ]
    assert read_table(text + 'track,Order,u,"{""a"": 2}",1\n') == [
        (2, {**order(), "properties": {"a": 2, "price": 1}})
    ]
    assert read_table(text + "track,Order,u,no json,1\n") == [
        (2, ("invalid_field", "properties.price"))
    ]


def test_large_file_is_read_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.csv"
    with path.open("w") as file:
        file.write(_HEADER)
        file.write(_ROW * 200_000)
        file.write('track,"open ' + "x" * 5_000_000 + "\n")
    tracemalloc.start()
    count = sum(1 for _ in open_rows(path, FileFormat(_MAX_ROW_BYTES)).rows())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 200_001
    assert peak < 2_000_000
