"""Rows of consent and suppression files have the same effect as messages to the gateway."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.adapters.avro import Codec
from pipeline.config import model
from pipeline.ingest.row_conversion import WatchedFile, open_converter
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.time import DAY_MS
from pipeline.row_files.mapping import row_mapping
from pipeline.row_files.row import FileFormat, UnreadableRow
from pipeline.row_files.rows import open_rows
from tests.support.deciding import Life, campaign, fates, offer, problems, world

_NOW_MS = 1_800_000_000_000
_EMAIL_PERMISSIONS = model.Permissions(("email",))
_WATCH = model.Watch(
    watch="list",
    source="shop",
    folder="/in",
    permissions=_EMAIL_PERMISSIONS,
    columns={
        "Email": "identifiers.email",
        "Reason": "permission.state",
        "Created": "time",
    },
)
_CONSENT = {
    "consent": "mail",
    "when": {"not": {"trait": "consent.email.marketing", "is": False}},
    "for": {"channel": "email", "purpose": "marketing"},
}
_SUPPRESSIONS = [
    {
        "suppression": "bad-address",
        "when": {"all": [{"name": "bounce"}, {"property": "bounce", "is": "address"}]},
        "duration": "365d",
        "for": {"channel": "email"},
    },
    {"suppression": "complained", "when": {"name": "complaint"}, "duration": "3650d"},
]
_RULES = world(
    identity={"namespaces": [{"name": "customer_id"}, {"name": "email", "normalise": "email"}]},
    traits=("consent.email.marketing",),
    campaigns=[campaign("sales", offer("sale", 9))],
    policies={"consent": [_CONSENT], "suppressions": _SUPPRESSIONS},
)


def _read(
    folder: Path, text: str, watch: model.Watch = _WATCH, digest: str = "one"
) -> list[Interaction | UnreadableRow]:
    """Return the interactions or refusals of the rows of a file whose content has the digest."""
    path = folder / "list.csv"
    path.write_text(text)
    converter = open_converter(
        WatchedFile(watch, "list.csv", digest, 10_000, _NOW_MS), _RULES.config, Codec(())
    )
    rows = open_rows(path, FileFormat(10_000, mapping=row_mapping(watch))).rows()
    return [converter.convert(row) for row in rows]


def _interactions_of(rows: list[Interaction | UnreadableRow]) -> list[Interaction]:
    assert all(isinstance(row, Interaction) for row in rows), rows
    return [row for row in rows if isinstance(row, Interaction)]


def _read_properties(
    folder: Path, columns: dict[str, str], text: str, **rules: Any
) -> list[dict[str, Any]]:
    """Return the properties of the rows of a list with these columns and rules."""
    permissions = model.Permissions(**{"channels": ("email",), **rules})
    watch = model.Watch("list", "shop", "/in", permissions=permissions, columns=columns)
    return [
        dict(interaction.properties) for interaction in _interactions_of(_read(folder, text, watch))
    ]


def test_suppression_list_of_a_mail_service_means_outcomes_and_withdrawals(tmp_path: Path) -> None:
    text = (
        "Email,Reason,Created\n"
        "ADA@example.com,Hard Bounce,2026-01-01T10:00:00Z\n"
        "bo@example.com,SpamComplaint,2026-01-02T10:00:00Z\n"
        "cy@example.com,Unsubscribed,2026-01-03T10:00:00Z\n"
    )
    bounce, complaint, withdrawal = _interactions_of(_read(tmp_path, text))
    assert (bounce.kind, bounce.name, bounce.channel) == ("outcome", "bounce", "email")
    assert bounce.properties == {"bounce": "address"}
    assert bounce.identifiers == (Identifier("email", "ada@example.com"),)
    assert bounce.occurred_at == 1_767_261_600_000
    assert (complaint.kind, complaint.name) == ("outcome", "complaint")
    assert (withdrawal.kind, withdrawal.name) == ("identify", "identify")
    assert withdrawal.properties == {"consent.email.marketing": False}


@pytest.mark.parametrize(
    ("reason", "fate"),
    [
        ("hard_bounce", "suppression bad-address"),
        ("spam report", "suppression complained"),
        ("unsubscribe", "consent mail"),
    ],
)
def test_customer_on_a_list_gets_no_mail(tmp_path: Path, reason: str, fate: str) -> None:
    life = Life(_RULES, identifiers=(Identifier("email", "ada@example.com"),))
    life.interact("Go", _NOW_MS - DAY_MS)
    assert life.treatments() == ["sale-email"]
    [row] = _interactions_of(_read(tmp_path, f"Email,Reason,Created\nada@example.com,{reason},\n"))
    list(life.flow.run(row))
    decision = life.interact("Go", _NOW_MS + DAY_MS)
    assert life.treatments() == []
    assert fates(decision)["sale-email"] == fate


def test_latest_state_of_a_list_holds(tmp_path: Path) -> None:
    life = Life(_RULES, identifiers=(Identifier("email", "ada@example.com"),))
    text = (
        "Email,Reason,Created\nada@example.com,opt-in,2026-02-01\nada@example.com,no,2026-01-01\n"
    )
    for row in _interactions_of(_read(tmp_path, text)):
        list(life.flow.run(row))
    life.interact("Go", _NOW_MS + DAY_MS)
    assert life.treatments() == ["sale-email"]


def test_repeated_row_with_a_time_counts_once_over_lists(
    tmp_path: Path,
) -> None:
    timed_text = "Email,Reason,Created\na@example.com,no,2026-01-01\na@example.com,no,2026-01-01\n"
    timeless_text = timed_text.replace("2026-01-01", "")

    def ids(text: str, digest: str) -> set[str]:
        return {
            interaction.event_id
            for interaction in _interactions_of(_read(tmp_path, text, digest=digest))
        }

    assert len(ids(timed_text, "one") | ids(timed_text, "two")) == 1
    assert len(ids(timeless_text, "one")) == 1
    assert len(ids(timeless_text, "one") | ids(timeless_text, "two")) == 2


def test_list_of_addresses_alone_has_one_state_for_all(tmp_path: Path) -> None:
    columns = {"address": "identifiers.email"}
    properties = _read_properties(
        tmp_path,
        columns,
        "address\na@example.com\n\nb@example.com\n",
        state="withdrawn",
        channels=("email", "call"),
        purposes=("marketing", "service"),
    )
    purposes = [
        f"consent.{channel}.{purpose}"
        for channel in ("email", "call")
        for purpose in ("marketing", "service")
    ]
    assert properties == [dict.fromkeys(purposes, False)] * 2


def test_columns_name_the_channel_and_purpose(tmp_path: Path) -> None:
    columns = {
        "id": "identifiers.customer_id",
        "canal": "permission.channel",
        "fin": "permission.purpose",
        "ok": "permission.state",
    }
    rules = {"channels": ("email", "call"), "purposes": ("marketing", "service")}
    text = "id;canal;fin;ok\n7;E-Mail;Marketing;sí\n8;call;;BAJA\n"
    assert _read_properties(tmp_path, columns, text, **rules) == [
        {"consent.email.marketing": True},
        {"consent.call.marketing": False, "consent.call.service": False},
    ]


def test_empty_column_of_a_channel_changes_nothing(tmp_path: Path) -> None:
    columns = {
        "id": "identifiers.customer_id",
        "HasOptedOutOfEmail": "permission.email.marketing",
        "DoNotCall": "permission.call.marketing",
    }
    words = {"withdrawn": ("true", "1"), "given": ("false", "0")}
    text = "id,HasOptedOutOfEmail,DoNotCall\n7,TRUE,\n8,0.0,1\n"
    rules = {"channels": ("email", "call"), "words": words}
    assert _read_properties(tmp_path, columns, text, **rules) == [
        {"consent.email.marketing": False},
        {"consent.email.marketing": True, "consent.call.marketing": False},
    ]


def test_row_without_a_clear_state_is_refused_with_its_column(tmp_path: Path) -> None:
    text = "Email,Reason,Created\na@example.com,perhaps,\nb@example.com,,\n,bounce,\n"
    rows = _read(tmp_path, text)
    assert [(row.line, row.code, row.field) for row in rows if isinstance(row, UnreadableRow)] == [
        (2, "invalid_field", "Reason"),
        (3, "missing_field", "Reason"),
        (4, "missing_identifier", "Email"),
    ]
    assert isinstance(rows[0], UnreadableRow)
    assert "'perhaps' is not a permission" in rows[0].message


@pytest.mark.parametrize(
    ("change", "field_path", "words"),
    [
        ({"permissions": {"channels": ["mail"]}}, "permissions/channels/0", "did you mean"),
        ({"kind": "track"}, "kind", "does not apply to permissions"),
        ({"columns": {"a": "identifiers.email"}}, "permissions", "the rows have no state"),
        (
            {"columns": {"a": "identifiers.email", "b": "permission.email.service"}},
            "columns/b",
            "permission.email.marketing",
        ),
        ({"source": "page"}, "source", "the public source page cannot"),
    ],
)
def test_mistake_in_a_list_is_named(change: dict[str, Any], field_path: str, words: str) -> None:
    watch = {
        "watch": "list",
        "source": "shop",
        "folder": "/in",
        "permissions": {"channels": ["email"]},
        "columns": {"a": "identifiers.email", "b": "permission.state"},
        **change,
    }
    sources = [
        {"name": "shop", "channel": "web", "write_key": "write-key-1"},
        {"name": "page", "channel": "web", "write_key": "write-key-2", "trust": "public"},
    ]
    [(path, message)] = problems(sources={"sources": sources}, ingest={"watches": [watch]})
    assert path == f"ingest/watches/0/{field_path}"
    assert words in message
