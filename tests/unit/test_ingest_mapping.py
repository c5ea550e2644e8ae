"""Files as they are sent in practice: columns are mapped to an interaction, archives unpacked."""

import gzip
import zipfile
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

from pipeline.config import model
from pipeline.config.feeds import complete_by_feed
from pipeline.row_files.row import FileRow, UnreadableError, UnreadableRow
from pipeline.row_files.row_ids import RowIds
from pipeline.row_files.rows import open_rows, watched_format
from pipeline.row_files.unpacking import ContentLimits, unpack

_WATCH = model.Watch(
    watch="w",
    source="s",
    folder="/in",
    kind="identify",
    columns={
        "Kunde": "identifiers.customer_id",
        "E-Mail": "identifiers.email",
        "Umsatz": "traits.spent",
        "Datum": "time",
        "Notiz": "ignore",
    },
    time=model.RowTime("Europe/Madrid", ("%d/%m/%Y", "%d/%m/%y %H:%M")),
)


def read_records(path: Path, watch: model.Watch) -> list[Any]:
    """Return the record of each row, or line, code and field of its refusal."""
    file_format = watched_format(complete_by_feed(watch), 1_000)
    return [
        (row.line, row.code, row.field)
        if isinstance(row, UnreadableRow)
        else msgspec.json.decode(row.raw)
        for row in open_rows(path, file_format).rows()
    ]


def person(number: str, **fields: object) -> dict[str, Any]:
    identifiers = [{"namespace": "customer_id", "value": number}]
    return {"kind": "identify", "identifiers": identifiers, **fields}


_NEW_YEAR_MS = 1_767_222_000_000
"""2026-01-01 in Madrid."""


def test_european_spreadsheet_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    text = (
        "Kunde;E-Mail;Umsatz;Datum;Notiz;\r\n"
        '7;;1.234,50;01/01/2026;"zwei\r\nZeilen";\r\n'
        "8;;12;01/01/26 00:00;ñ;\r\n"
        "Kunde;E-Mail;Umsatz;Datum;Notiz;\r\n"
        "9;;;2026-01-01;;\r\n"
        ";;;;;\r\n\r\n"
    )
    path.write_bytes(text.encode("iso-8859-1"))
    csv = model.CsvFormat(encoding="iso-8859-1", decimal_comma=True)
    assert read_records(path, replace(_WATCH, csv=csv)) == [
        person("7", properties={"spent": 1234.5}, occurred_at=_NEW_YEAR_MS),
        person("8", properties={"spent": 12}, occurred_at=_NEW_YEAR_MS),
        (6, "invalid_time", "occurred_at"),
    ]


def test_byte_order_mark_is_skipped_and_row_without_identifier_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("\ufeffKunde,E-Mail,Umsatz,Datum,Notiz\n7\n,,5\n".encode())
    assert read_records(path, _WATCH) == [
        person("7"),
        (3, "missing_identifier", "identifiers.customer_id"),
    ]


def test_file_without_header_and_quotes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('7|a@a.example|"5|01/01/2026|\n')
    csv = model.CsvFormat(names=("Kunde", "E-Mail", "Umsatz", "Datum", "Notiz"), quote="")
    [row] = read_records(path, replace(_WATCH, csv=csv))
    assert row["properties"] == {"spent": '"5'}
    assert row["identifiers"][1] == {"namespace": "email", "value": "a@a.example"}


def test_row_marked_delete_clears_the_traits(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,plan,city,op\n1,gold,Vigo,D\n2,gold,,U\n")
    columns = {"id": "identifiers.email", "plan": "traits.plan", "city": "traits.city"}
    watch = replace(_WATCH, columns={**columns, "op": "delete"}, delete=("d",))
    deleted_row, updated_row = read_records(path, watch)
    assert deleted_row["properties"] == {"plan": None, "city": None}
    assert updated_row["properties"] == {"plan": "gold"}


def test_json_and_parquet_are_mapped_alike(tmp_path: Path) -> None:
    columns = {"who.id": "identifiers.customer_id", "plan": "traits.plan", "who.*": "ignore"}
    watch = replace(_WATCH, columns=columns, time=model.RowTime())
    path = tmp_path / "a.ndjson"
    path.write_text(
        '{"who": {"id": 7, "age": 3}, "plan": "gold"}\n{"who": {"id": 7}, "x": 1}\n[]\n'
    )
    assert read_records(path, watch) == [
        person("7", properties={"plan": "gold"}),
        (2, "unknown_column", "x"),
        (3, "invalid_json", None),
    ]
    table = pa.table({"who.id": [7, None], "plan": ["gold", "tin"]})
    pq.write_table(table, tmp_path / "a.parquet")
    assert read_records(tmp_path / "a.parquet", watch) == [
        person("7", properties={"plan": "gold"}),
        (2, "missing_identifier", "identifiers.customer_id"),
    ]


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("Kunde,E-Mail,Umsatz,Notiz", "no column 'Datum'"),
        ("Kunde,E-Mail,Umsatz,Datum,Notiz,Neu", "column 'Neu' is unknown"),
        (
            "Kunde,E-Mail,Umsatz,Datum,Notiz,Kunde",
            "column 'Kunde' and another are both mapped",
        ),
    ],
)
def test_header_that_differs_from_the_mapping_is_refused(
    tmp_path: Path, header: str, words: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(header + "\n1,2,3,4,5,6\n")
    with pytest.raises(UnreadableError, match=words):
        read_records(path, _WATCH)


def test_users_of_interaction_studio_are_read(tmp_path: Path) -> None:
    path = tmp_path / "user-2026-11-01_03-00-00.csv"
    path.write_text(
        "userId,attribute:emailAddress,attribute:name,attribute:visits\n"
        "jdoe,John@a.example,John Doe,40\n"
        "tester,,,\n"
    )
    watch = model.Watch(
        watch="users",
        source="s",
        folder="/in",
        feed="interaction-studio-users",
        columns={"attribute:emailAddress": "identifiers.email"},
    )
    email = {"namespace": "email", "value": "John@a.example"}
    assert read_records(path, watch) == [
        {
            "kind": "identify",
            "identifiers": [{"namespace": "customer_id", "value": "jdoe"}, email],
            "properties": {"name": "John Doe", "visits": 40},
        },
        person("tester"),
    ]


def test_users_without_a_user_id_are_read_by_a_mapped_identifier(tmp_path: Path) -> None:
    path = tmp_path / "user-2026-11-01_03-00-00.csv"
    path.write_text("attribute:emailAddress,attribute:userLevel\njohn.doe@example.com,5\n,5\n")
    watch = model.Watch(
        watch="users",
        source="s",
        folder="/in",
        feed="interaction-studio-users",
        columns={"attribute:emailAddress": "identifiers.email"},
    )
    identifier = {"namespace": "email", "value": "john.doe@example.com"}
    assert read_records(path, watch) == [
        {"kind": "identify", "identifiers": [identifier], "properties": {"userLevel": 5}},
        (3, "missing_identifier", "identifiers.email"),
    ]
    with pytest.raises(UnreadableError, match="no column 'userId'"):
        read_records(path, replace(watch, columns={}))


def test_email_events_of_interaction_studio_are_read(tmp_path: Path) -> None:
    path = tmp_path / "externalEmailCampaign-2026-11-01_03-00-00.csv"
    path.write_text(
        "userId,externalCampaignId,externalCampaignName,eventType,externalSystem,eventDate\n"
        "jdoe,3823923,,Send,Salesforce,2017-07-17T11:24:23Z\n"
        "a30bkcqfo941afc,11042020_DirectMail,Direct Mail,Unsubscribe,USPS,2020-04-01\n"
    )
    watch = model.Watch("mailed", "s", folder="/in", feed="interaction-studio-email-events")
    sent_event, unsubscribe_event = read_records(path, watch)
    assert sent_event == {
        "kind": "track",
        "name": "External Email Event",
        "identifiers": [{"namespace": "customer_id", "value": "jdoe"}],
        "properties": {"campaign_id": 3823923, "event": "Send", "system": "Salesforce"},
        "occurred_at": 1_500_290_663_000,
    }
    assert (unsubscribe_event["properties"]["event"], unsubscribe_event["occurred_at"]) == (
        "Unsubscribe",
        1_585_699_200_000,
    )
    path.write_text(
        "attribute:emailAddress,attribute:customerId,externalCampaignId,eventType,eventDate\n"
        "jdoe@ac.com,123456,newsletter,Click,2020-07-07T10:11:34Z\n"
    )
    columns = {"attribute:emailAddress": "identifiers.email"}
    [click] = read_records(path, replace(watch, columns=columns))
    assert click["identifiers"] == [{"namespace": "email", "value": "jdoe@ac.com"}]
    assert click["properties"] == {
        "customerId": 123456,
        "campaign_id": "newsletter",
        "event": "Click",
    }


def test_changes_of_manual_segments_have_their_columns_as_properties(tmp_path: Path) -> None:
    path = tmp_path / "segment-delta-2026-11-01_03-00-00.csv"
    path.write_text("userId,segment,operation\njdoe,Gold club,add\ntester,Gold club,remove\n")
    watch = model.Watch("segments", "s", folder="/in", feed="interaction-studio-segments")
    assert [row["properties"] for row in read_records(path, watch)] == [
        {"segment": "Gold club", "operation": "add"},
        {"segment": "Gold club", "operation": "remove"},
    ]


def test_changes_of_manual_segments_are_read_by_a_mapped_identifier(tmp_path: Path) -> None:
    path = tmp_path / "segment-delta--2026-11-01_03-00-00.csv"
    path.write_text(
        "attribute:emailAddress,attribute:customerId,segmentName,action\n"
        "jdoe@ac.com,123456,Gold club,ADD\n"
    )
    columns = {"attribute:emailAddress": "identifiers.email"}
    watch = model.Watch(
        "segments", "s", folder="/in", feed="interaction-studio-segments", columns=columns
    )
    assert fnmatchcase(path.name, complete_by_feed(watch).pattern or "")
    [change] = read_records(path, watch)
    assert change["identifiers"] == [{"namespace": "email", "value": "jdoe@ac.com"}]
    assert change["properties"] == {
        "customerId": 123456,
        "segmentName": "Gold club",
        "action": "ADD",
    }


def test_transactions_of_interaction_studio_become_one_event_per_item(tmp_path: Path) -> None:
    path = tmp_path / "transaction-2026-11-01_03-00-00.csv"
    path.write_text(
        "transactionId,userId,purchaseDate,productId,price,quantity,attribute:store\n"
        "t-1,jdoe,2026-10-31T10:00:00Z,sku-1,19.90,2,Madrid\n"
        "t-1,jdoe,2026-10-31T10:00:00Z,sku-2,5,1,\n"
    )
    watch = model.Watch(
        watch="bought", source="s", folder="/in", feed="interaction-studio-transactions"
    )
    purchase = {"transaction_id": "t-1", "product_id": "sku-1", "price": 19.9, "quantity": 2}
    common_fields = {"kind": "track", "name": "Product Purchased", "occurred_at": 1_793_440_800_000}
    identifiers = [{"namespace": "customer_id", "value": "jdoe"}]
    raw_rows = read_records(path, watch)
    assert raw_rows == [
        {
            **common_fields,
            "identifiers": identifiers,
            "properties": {**purchase, "store": "Madrid"},
        },
        {
            **common_fields,
            "identifiers": identifiers,
            "properties": {
                "transaction_id": "t-1",
                "product_id": "sku-2",
                "price": 5,
                "quantity": 1,
            },
        },
    ]
    ids = RowIds("", complete_by_feed(watch).key)
    rows = [FileRow(line, msgspec.json.encode(row), 0) for line, row in enumerate(raw_rows)]
    first_id, second_id, repeated_id = (ids.next_id(row) for row in (*rows, rows[0]))
    assert first_id == repeated_id != second_id


def _limits(max_bytes: int, max_ratio: float = 500.0) -> ContentLimits:
    return ContentLimits(max_bytes, max_ratio)


@pytest.mark.parametrize("name", ["a.csv.gz", "a.csv.zip"])
def test_file_that_would_fill_the_disk_is_refused(tmp_path: Path, name: str) -> None:
    zeros, count = bytes(1024 * 1024), 70
    bomb = tmp_path / name
    if name.endswith(".gz"):
        with gzip.open(bomb, "wb") as packed_file:
            packed_file.writelines([zeros] * count)
    else:
        with (
            zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive,
            archive.open("a.csv", "w") as entry,
        ):
            entry.writelines([zeros] * count)
    target = tmp_path / "out"
    with pytest.raises(UnreadableError, match="more than 500 times its size"):
        unpack(bomb, name, target, _limits(10**10))
    assert target.stat().st_size <= 64 * 1024 * 1024
    assert unpack(bomb, name, target, _limits(10**10, 2_000)) == "a.csv"


def test_compressed_files_are_unpacked_within_bounds(tmp_path: Path) -> None:
    content = b"a" * 1_000
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(content))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("inner.csv", content)
        archive.writestr("__MACOSX/._inner.csv", b"x")
    target = tmp_path / "out"
    assert unpack(tmp_path / "a.csv.gz", "a.csv.gz", target, _limits(1_000)) == "a.csv"
    assert target.read_bytes() == content
    assert unpack(tmp_path / "a.zip", "a.zip", target, _limits(1_000)) == "inner.csv"
    assert target.read_bytes() == content
    for name in ("a.csv.gz", "a.zip"):
        with pytest.raises(UnreadableError, match="larger than 999 bytes"):
            unpack(tmp_path / name, name, target, _limits(999))


@pytest.mark.parametrize("name", ["a.csv.gz", "a.csv.zip"])
def test_damaged_archives_are_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    if name.endswith(".gz"):
        file.write_bytes(gzip.compress(bytes(range(256)) * 100))
    else:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.csv", bytes(range(256)) * 100)
    data = file.read_bytes()
    for length in (0, 1, len(data) // 2, len(data) - 1):
        file.write_bytes(data[:length])
        with pytest.raises(UnreadableError):
            unpack(file, name, tmp_path / "out", _limits(1_000_000))
