"""The pinned jars, taken from a Maven repository served from a folder."""

import hashlib
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from pipeline.adapters.broker.jars import PinnedJar, ensure_jars, pinned_jars
from pipeline.adapters.broker.options import BrokerError
from tests.support.small_disk import small_disk

CONTENT = b"not really a jar"
JAR = PinnedJar(hashlib.sha256(CONTENT).hexdigest(), "org.example", "thing", "1.2")


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[str]:
    jar_file = tmp_path / "mirror" / JAR.path
    jar_file.parent.mkdir(parents=True)
    jar_file.write_bytes(CONTENT)
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "mirror"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_jars_are_downloaded_once_and_then_used_without_the_repository(
    tmp_path: Path, mirror: str
) -> None:
    [jar_file] = ensure_jars(tmp_path / "cache", (JAR,), mirror)
    assert jar_file.read_bytes() == CONTENT
    assert ensure_jars(tmp_path / "cache", (JAR,), "http://127.0.0.1:1") == [jar_file]


def test_download_that_was_cut_short_is_made_again(tmp_path: Path, mirror: str) -> None:
    [path] = ensure_jars(tmp_path / "cache", (JAR,), mirror)
    path.write_bytes(CONTENT[:5])
    ensure_jars(tmp_path / "cache", (JAR,), mirror)
    assert path.read_bytes() == CONTENT


def test_jar_that_does_not_fit_its_digest_is_named_and_deleted(tmp_path: Path, mirror: str) -> None:
    mismatched_jar = PinnedJar("0" * 64, JAR.group, JAR.artifact, JAR.version)
    with pytest.raises(BrokerError, match=r"thing-1\.2\.jar does not have its pinned digest"):
        ensure_jars(tmp_path / "cache", (mismatched_jar,), mirror)
    assert not list(tmp_path.glob("cache/**/*.jar"))


def test_error_of_a_missing_network_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match=r"cannot download thing-1\.2\.jar .*connect to the net"):
        ensure_jars(tmp_path, (JAR,), "http://127.0.0.1:1")


def test_jar_missing_from_the_repository_is_named(tmp_path: Path, mirror: str) -> None:
    absent = PinnedJar("0" * 64, "org.example", "absent", "1")
    with pytest.raises(BrokerError, match=r"cannot download absent-1\.jar"):
        ensure_jars(tmp_path, (absent,), mirror)


def test_full_disk_is_distinguished_from_a_missing_network(tmp_path: Path, mirror: str) -> None:
    content = bytes(2 << 20)
    jar = PinnedJar(hashlib.sha256(content).hexdigest(), JAR.group, "large", JAR.version)
    jar_file = tmp_path / "mirror" / jar.path
    jar_file.parent.mkdir(parents=True)
    jar_file.write_bytes(content)
    with (
        small_disk(tmp_path / "cache", megabytes=1),
        pytest.raises(BrokerError, match=r"large-1\.2\.jar to .*: No space left.*KAIROS_CACHE_DIR"),
    ):
        ensure_jars(tmp_path / "cache", (jar,), mirror)


def test_every_pin_is_a_digest_and_a_distinct_jar() -> None:
    pins = pinned_jars()
    assert all(len(bytes.fromhex(pin.sha256)) == 32 for pin in pins)
    assert len({(pin.group, pin.artifact) for pin in pins}) == len(pins)
    assert {pin.version for pin in pins if pin.group == "org.apache.kafka"} == {"4.1.1"}
