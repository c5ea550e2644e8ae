"""Damaged files are noticed, reported and rebuilt; a database in use is left alone."""

import logging
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path

import pytest

from agents.store.partition import (
    PartitionStore,
    StoreDamagedError,
    StoreInUseError,
    StoreUnavailableError,
)
from tests.support.small_disk import small_disk

ROW_COUNT = 20_000
VALUE = b"value" * 40


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Folder of a store with rows in SST files."""
    store = PartitionStore(tmp_path / "0")
    store.restore(((b"%06d" % n, VALUE) for n in range(ROW_COUNT)), ROW_COUNT)
    store.close()
    assert list((tmp_path / "0").glob("*.sst"))
    return tmp_path / "0"


def _third_free_number() -> int:
    """Return the third of the numbers that the process's next files get."""
    descriptors = {int(file.name) for file in Path("/proc/self/fd").iterdir()}
    return next(islice((number for number in count() if number not in descriptors), 2, None))


@contextmanager
def _allow_two_more_files() -> Iterator[None]:
    """Let the process open two more files: the limit is the number that a third one would get."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_third_free_number(), limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def _largest_file(path: Path, pattern: str) -> Path:
    return max(path.glob(pattern), key=lambda file: file.stat().st_size)


def _garble_current(path: Path) -> None:
    (path / "CURRENT").write_bytes(b"\xde\xad")


def _delete_current(path: Path) -> None:
    (path / "CURRENT").unlink()


def _truncate_manifest(path: Path) -> None:
    file = _largest_file(path, "MANIFEST-*")
    file.write_bytes(file.read_bytes()[:20])


def _garble_manifest(path: Path) -> None:
    file = _largest_file(path, "MANIFEST-*")
    file.write_bytes(b"\xde\xad\xbe\xef" * 64)


def _truncate_sst(path: Path) -> None:
    file = _largest_file(path, "*.sst")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _delete_sst(path: Path) -> None:
    _largest_file(path, "*.sst").unlink()


def _read_all(store: PartitionStore) -> None:
    for n in range(ROW_COUNT):
        assert store.get(b"%06d" % n) == VALUE


def _scan_all(store: PartitionStore) -> None:
    assert len(list(store.scan())) == ROW_COUNT


def _scan_some(store: PartitionStore) -> None:
    """Scan keys that are in several blocks, of which the damaged one is not the first."""
    assert len(list(store.scan(b"00"))) == 10_000


@pytest.mark.parametrize(
    "damage",
    [
        _garble_current,
        _delete_current,
        _truncate_manifest,
        _garble_manifest,
        _truncate_sst,
        _delete_sst,
    ],
)
def test_store_that_cannot_be_opened_is_emptied_to_be_rebuilt(
    path: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    damage(path)
    with caplog.at_level(logging.WARNING):
        store = PartitionStore(path)
    assert "rebuilt from its changelog" in caplog.text
    assert store.next_offset == 0
    assert list(store.scan()) == []
    store.close()


@pytest.mark.parametrize("read", [_read_all, _scan_all, _scan_some])
def test_flipped_bit_is_noticed_when_it_is_read_and_rebuilt_at_the_next_start(
    path: Path, read: Callable[[PartitionStore], None]
) -> None:
    file = _largest_file(path, "*.sst")
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 0x10
    file.write_bytes(content)
    store = PartitionStore(path)
    with pytest.raises(StoreDamagedError, match="checksum"):
        read(store)
    store.close()
    reopened_store = PartitionStore(path)
    assert reopened_store.next_offset == 0
    assert list(reopened_store.scan()) == []
    reopened_store.close()


def test_truncated_write_ahead_log_leaves_a_prefix_of_the_changelog(tmp_path: Path) -> None:
    store = PartitionStore(tmp_path)
    for n in range(100):
        store.restore([(b"last", b"%d" % n)], n + 1)
    log = _largest_file(tmp_path, "*.log").read_bytes()
    files = {file.name: file.read_bytes() for file in tmp_path.iterdir() if file.name != "LOCK"}
    store.close()
    copy = tmp_path / "copy"
    copy.mkdir()
    for name, content in files.items():
        (copy / name).write_bytes(content if content != log else log[: len(log) // 2])
    reopened_store = PartitionStore(copy)
    assert 0 < reopened_store.next_offset < 100
    assert reopened_store.get(b"last") == b"%d" % (reopened_store.next_offset - 1)
    reopened_store.close()


def test_store_that_another_process_holds_is_not_taken_for_a_damaged_one(path: Path) -> None:
    holder = PartitionStore(path)
    with pytest.raises(StoreInUseError, match="is another worker"):
        PartitionStore(path)
    assert holder.get(b"000000") == VALUE
    holder.close()


def test_path_that_has_lock_in_its_name_is_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "LOCK: While lock file" / "0"
    PartitionStore(path).close()
    _garble_current(path)
    store = PartitionStore(path)
    assert store.next_offset == 0
    store.close()


def test_state_stays_while_too_many_files_are_open(path: Path) -> None:
    with _allow_two_more_files(), pytest.raises(StoreUnavailableError, match="Too many open files"):
        PartitionStore(path)
    store = PartitionStore(path)
    _read_all(store)
    store.close()


def test_state_stays_on_a_full_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, megabytes=2):
        store = PartitionStore(disk / "0")
        store.restore([(b"here", VALUE)], 1)
        store.close()
        (disk / "fill").write_bytes(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_bsize))
        with pytest.raises(StoreUnavailableError, match="No space left"):
            PartitionStore(disk / "0")
        (disk / "fill").unlink()
        store = PartitionStore(disk / "0")
        assert (store.next_offset, store.get(b"here")) == (1, VALUE)
        store.close()
