"""Files encrypted by OpenPGP: taken with the key, refused without; a bad key is an error."""

import gzip
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from pysequoia import Tsk, encrypt

from pipeline.adapters.avro import Codec, recorded_versions
from pipeline.config import model
from pipeline.home.records import Records
from pipeline.ingest.journal import Journal
from pipeline.ingest.places import open_folder
from pipeline.ingest.secret_values import pgp_key
from pipeline.ingest.taking import Base
from pipeline.ingest.watcher import Watcher
from pipeline.row_files.decrypting import PgpKey, decrypt, is_encrypted
from pipeline.row_files.row import UnreadableError
from pipeline.row_files.unpacking import ContentLimits, unpack
from pipeline.settings import Settings
from tests.support.worlds import plain_rules

_CSV = b"customer,total\n" + b"ana,12.50\n" * 10_000
_LIMITS = ContentLimits(1_000_000, 500.0)


@pytest.fixture(scope="module")
def key() -> Tsk:
    return Tsk.generate("files@shop.example")


def _encrypt(key: Tsk, path: Path, content: bytes = _CSV) -> Path:
    path.write_bytes(encrypt(recipients=[key.extract_certificate()], bytes=content))
    return path


def test_encryption_is_recognised_by_the_files_name() -> None:
    names = ("user-1.csv.pgp", "a.csv.gz.GPG", "a.asc", "a.csv", "pgp", "a.pgp.csv")
    assert [is_encrypted(name) for name in names] == [True, True, True, False, False, False]


@pytest.mark.parametrize("form", ["armor", "line", "path"])
def test_key_in_any_form_decrypts(key: Tsk, tmp_path: Path, form: str) -> None:
    file = _encrypt(key, tmp_path / "orders.csv.pgp")
    text = str(key)
    if form == "line":
        text = text.replace("\n", "\\n")
    if form == "path":
        (tmp_path / "key.asc").write_text(text)
        text = str(tmp_path / "key.asc")
    target = tmp_path / "out"
    assert decrypt(file, file.name, PgpKey(text), target, _LIMITS) == "orders.csv"
    assert target.read_bytes() == _CSV


def test_packed_file_may_be_encrypted(key: Tsk, tmp_path: Path) -> None:
    file = _encrypt(key, tmp_path / "orders.csv.gz.gpg", gzip.compress(_CSV))
    packed_file, target = tmp_path / "packed", tmp_path / "out"
    name = decrypt(file, file.name, PgpKey(str(key)), packed_file, _LIMITS)
    assert unpack(packed_file, name, target, _LIMITS) == "orders.csv"
    assert target.read_bytes() == _CSV


def test_file_that_cannot_be_decrypted_is_refused_with_the_reason(key: Tsk, tmp_path: Path) -> None:
    data = _encrypt(key, tmp_path / "a.csv.pgp").read_bytes()
    other_key = PgpKey(str(Tsk.generate("somebody else")))
    damaged_data = bytearray(data)
    damaged_data[len(damaged_data) // 2] ^= 1
    for content, used_key, words in (
        (data, None, "give its watch a key"),
        (data, other_key, "No key to decrypt"),
        (data[: len(data) // 2], PgpKey(str(key)), "cannot be decrypted"),
        (bytes(damaged_data), PgpKey(str(key)), "cannot be decrypted"),
        (_CSV, PgpKey(str(key)), "cannot be decrypted"),
        (b"", PgpKey(str(key)), "cannot be decrypted"),
    ):
        (tmp_path / "b.csv.pgp").write_bytes(content)
        with pytest.raises(UnreadableError, match=words) as caught_error:
            decrypt(tmp_path / "b.csv.pgp", "b.csv.pgp", used_key, tmp_path / "out", _LIMITS)
        assert "backtrace" not in str(caught_error.value)


def test_file_that_holds_too_much_is_refused(key: Tsk, tmp_path: Path) -> None:
    file, target = _encrypt(key, tmp_path / "a.csv.pgp"), tmp_path / "out"
    limits = ContentLimits(len(_CSV) - 1, 500.0)
    with pytest.raises(UnreadableError, match="decrypted it is larger than 100,014 bytes"):
        decrypt(file, file.name, PgpKey(str(key)), target, limits)
    assert target.stat().st_size <= limits.max_bytes
    assert decrypt(file, file.name, PgpKey(str(key)), target, _LIMITS) == "a.csv"


@pytest.mark.parametrize("layer_count", [1, 2])
def test_file_that_is_made_to_fill_the_disk_is_refused_in_time(
    key: Tsk, tmp_path: Path, layer_count: int
) -> None:
    # Compression makes 250 KB of 256 MB of zeros, and a few hundred bytes of those 250 KB.
    file, target = tmp_path / "a.csv.pgp", tmp_path / "out"
    content = _pack(_yield_literal_packet(), 256 * 1024 * 1024)
    for _ in range(layer_count - 1):
        content = _pack([content], 0)
    file.write_bytes(content)
    limits = ContentLimits(10_000_000_000, 500.0)
    with pytest.raises(UnreadableError, match="more than 500 times its size"):
        decrypt(file, file.name, PgpKey(str(key)), target, limits)
    assert target.stat().st_size <= limits.limit_for(len(content)) < 256 * 1024 * 1024


def _yield_literal_packet() -> Iterator[bytes]:
    """Yield the beginning of a packet of literal data, whose content of zeros follows."""
    body = b"b\0" + bytes(4)
    yield b"\xcb\xff" + (len(body) + 256 * 1024 * 1024).to_bytes(4) + body


def _pack(parts: Iterable[bytes], zero_bytes: int) -> bytes:
    """Return a packet of compressed data with the parts, and `zero_bytes` zeros after them."""
    packer = zlib.compressobj(9, wbits=-15)
    packed_parts = [packer.compress(part) for part in parts]
    packed_parts += [packer.compress(bytes(1 << 20)) for _ in range(zero_bytes >> 20)]
    body = b"\x01" + b"".join(packed_parts) + packer.flush()
    return b"\xc8\xff" + len(body).to_bytes(4) + body


def test_fault_of_the_key_or_the_disk_does_not_refuse_the_file(key: Tsk, tmp_path: Path) -> None:
    file = _encrypt(key, tmp_path / "a.csv.pgp")
    for text in ("no key", str(tmp_path / "missing"), "-----BEGIN PGP PRIVATE KEY BLOCK-----\nx"):
        with pytest.raises(OSError, match="cannot be used"):
            decrypt(file, file.name, PgpKey(text), tmp_path / "out", _LIMITS)
    with pytest.raises(OSError, match="cannot be used"):
        decrypt(file, file.name, PgpKey(str(key), "it has none"), tmp_path / "out", _LIMITS)
    with pytest.raises(OSError, match="now"):
        decrypt(file, file.name, PgpKey(str(key)), tmp_path / "no folder" / "out", _LIMITS)


def test_watch_takes_encrypted_files_by_its_key(key: Tsk, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    _encrypt(key, folder / "orders.csv.pgp")
    columns = {"customer": "identifiers.customer_id", "total": "properties.total"}
    watch = model.Watch(
        "orders", "shop", folder=str(folder), kind="track", columns=columns, pattern="*"
    )
    base = Base(
        folder=tmp_path / "home",
        journal=Journal(tmp_path / "home"),
        records=Records(Settings(home=tmp_path / "home"), Codec(recorded_versions())),
        max_bytes=10_000,
        now_ms=lambda: 1_800_000_000_000,
        progress=lambda *_: None,
        apply_catalog=lambda _: None,
    )
    for secret, state in ((PgpKey(str(key)), "done"), (None, "failed")):
        watcher = Watcher(
            watch, base, "in", lambda: open_folder(folder), lambda secret=secret: secret
        )
        [report] = watcher.check(plain_rules().config)
        assert (report.state, report.rows) == (state, 10_000 if secret else 0), report


def test_key_is_read_from_the_variables_that_the_watch_names() -> None:
    watch = model.Watch("w", "s", folder="/in", pgp=model.PgpSecret("${KEY}", "${PASS}"))
    assert pgp_key(watch, {"KEY": "k", "PASS": "p"}) == PgpKey("k", "p")
    with pytest.raises(OSError, match="no PASS"):
        pgp_key(watch, {"KEY": "k"})
    assert pgp_key(model.Watch("w", "s", folder="/in"), {}) is None
