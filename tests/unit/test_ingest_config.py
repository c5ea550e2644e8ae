"""Mistakes in ingest.yaml are named with file, line and remedy."""

from pathlib import Path

import pytest

from pipeline.adapters.config_files import ConfigError, load
from pipeline.config.feeds import complete_by_feed
from pipeline.config.model import Bundle, PgpSecret
from tests.support.ingest import write_configuration

_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMYc2KN6GHkQ8dbOqhmJzqHRqmUuTQaMeMwYsfI0eWJo"
_FOLDER = """watches:
  - watch: crm
    source: crm
    folder: /srv/in
    kind: identify
    columns:
      customer: identifiers.customer_id
      Name: traits.name
      Updated: time
      op: delete
      "attribute:*": traits.*
    delete: [D]
    time: {zone: Europe/Madrid, formats: ["%d/%m/%Y"]}
    csv: {delimiter: ";", encoding: windows-1252, decimal_comma: true}
"""
_SFTP = f"""watches:
  - watch: crm
    source: crm
    sftp: {{host: h, user: u, host_key: "{_KEY}", private_key: "${{CRM_KEY}}"}}
"""


def load_text(tmp_path: Path, text: str) -> Bundle | list[ConfigError]:
    (tmp_path / "sources.yaml").write_text(
        "sources: [{name: crm, channel: file, write_key: write-key-1}]\n"
    )
    (tmp_path / "identity.yaml").write_text(
        "namespaces: [{name: customer_id}, {name: email}, {name: cookie}]\n"
    )
    (tmp_path / "channels.yaml").write_text("channels: [{name: web}]\n")
    (tmp_path / "ingest.yaml").write_text(text)
    return load(tmp_path, {})


@pytest.mark.parametrize("text", [_FOLDER, _SFTP])
def test_valid_file_is_loaded(tmp_path: Path, text: str) -> None:
    bundle = load_text(tmp_path, text)
    assert isinstance(bundle, Bundle), bundle
    assert bundle.ingest.watches[0].watch == "crm"


def test_references_to_sftp_secrets_are_kept(tmp_path: Path) -> None:
    bundle = load_text(tmp_path, _SFTP)
    assert isinstance(bundle, Bundle)
    sftp = bundle.ingest.watches[0].sftp
    assert sftp is not None
    assert sftp.private_key == "${CRM_KEY}"


def test_references_to_pgp_keys_and_source_secrets_are_kept(
    tmp_path: Path,
) -> None:
    text = _FOLDER.replace(
        "    folder:", '    pgp: {key: "${FEED_KEY}", passphrase: "${P}"}\n    folder:'
    )
    load_text(tmp_path, text)
    (tmp_path / "sources.yaml").write_text(
        "sources: [{name: crm, channel: file, write_key: write-key-1, trust: public, "
        'asserts: [cookie], secret: "${PROOFS}"}]\n'
    )
    bundle = load(tmp_path, {"FEED_KEY": "a key", "P": "a passphrase", "PROOFS": "a secret"})
    assert isinstance(bundle, Bundle), bundle
    assert bundle.ingest.watches[0].pgp == PgpSecret("${FEED_KEY}", "${P}")
    assert bundle.sources.sources[0].secret == "${PROOFS}"


@pytest.mark.parametrize(
    ("text", "old_text", "new_text", "line", "words"),
    [
        (_FOLDER, "source: crm", "source: crn", 3, "unknown source 'crn': did you mean"),
        (_FOLDER, "/srv/in", "in", 4, "not an absolute path"),
        (_FOLDER, "    folder: /srv/in\n", "", 2, "either `folder` or `sftp`"),
        (_FOLDER, "identifiers.customer_id", "identifiers.custmer_id", 7, "unknown namespace"),
        (_FOLDER, "Name: traits.name", "Name: trait.name", 8, "a column cannot be mapped to"),
        (_FOLDER, "Name: traits.name", "Name: context.urll", 8, "the context has no 'urll'"),
        (_FOLDER, "Name: traits.name", "Name: identifiers.customer_id", 8, "'customer' is"),
        (_FOLDER, "Updated: time", "Updated: traits.name", 9, "'Name' is traits.name already"),
        (_FOLDER, '"attribute:*": traits.*', '"attribute:*": traits.x', 11, "`*` must end"),
        (_FOLDER, '"attribute:*": traits.*', '"*b": traits.*', 11, "`*` must end"),
        (_FOLDER, "    delete: [D]\n", "", 6, "go together"),
        (_FOLDER, "kind: identify", "kind: track", 8, "map it to properties.name"),
        (_FOLDER, "    kind: identify\n", "", 2, "set the `kind`"),
        (_FOLDER, "Europe/Madrid", "Europe/Madird", 13, "no time zone"),
        (_FOLDER, "%d/%m/%Y", "%H:%M", 13, "not a notation of a time"),
        (_FOLDER, "%d/%m/%Y", "dd/mm/yyyy", 13, "not a notation of a time"),
        (_FOLDER, "windows-1252", "windows-125", 14, "no text encoding"),
        (_FOLDER, '";"', '";;"', 14, "no delimiter"),
        (_FOLDER, '";"', 'semicolon, escape: ";"', 14, "choose a character other than"),
        (_SFTP, f'"{_KEY}"', '"SHA256:abc"', 4, "ssh-keyscan"),
        (_SFTP, f', host_key: "{_KEY}"', "", 4, "'host_key' is missing"),
        (_SFTP, ', private_key: "${CRM_KEY}"', "", 4, "`private_key` or `password`"),
        (_SFTP, '"${CRM_KEY}"', "in-the-file", 4, "what is written is not the name of a secret"),
        (_SFTP, "source: crm", "source: crm\n    ready: {marker: done}", 4, "name the marker"),
        (_SFTP, "source: crm", "source: crm\n    max_bad: 2", 4, "too large"),
        (_SFTP, "source: crm", "source: crm\n    kind: track", 4, "set `columns` too"),
    ],
)
def test_mistake_is_named_with_its_line(
    tmp_path: Path, text: str, old_text: str, new_text: str, line: int, words: str
) -> None:
    assert old_text in text
    errors = load_text(tmp_path, text.replace(old_text, new_text, 1))
    assert isinstance(errors, list)
    assert [(error.file, error.line) for error in errors if words in error.message] == [
        ("ingest.yaml", line)
    ], errors


def test_feed_brings_its_mapping_and_columns_add_to_it(tmp_path: Path) -> None:
    text = """watches:
  - watch: users
    source: crm
    folder: /srv/in
    feed: interaction-studio-users
    columns: {"attribute:emailAddress": identifiers.email}
"""
    bundle = load_text(tmp_path, text)
    assert isinstance(bundle, Bundle), bundle
    watch = complete_by_feed(bundle.ingest.watches[0])
    assert watch.kind == "identify"
    assert watch.columns == {
        "userId": "identifiers.customer_id",
        "attribute:*": "traits.*",
        "attribute:emailAddress": "identifiers.email",
    }


def test_watch_of_an_unknown_catalog_with_a_kind_is_refused(tmp_path: Path) -> None:
    text = """watches:
  - watch: goods
    source: shop-files
    folder: /srv/in
    catalog: goods
    kind: track
"""
    errors = load(write_configuration(tmp_path / "config", text), {})
    assert isinstance(errors, list)
    messages = " ".join(error.message for error in errors)
    assert "goods" in messages
    assert "kind is for interactions" in messages
