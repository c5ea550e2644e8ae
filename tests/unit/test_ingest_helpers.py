"""Helpers that convert the rows of large files: the same results, and no process left behind."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import psutil
import pytest

from pipeline.adapters.avro import Codec, recorded_versions
from pipeline.config import model
from pipeline.config.compile import Configuration
from pipeline.ingest.helpers import HelperEndedError, convert_here, convert_with_helpers
from pipeline.ingest.preparing import PreparedFiles, RowCounts, prepare
from pipeline.ingest.row_conversion import ConvertedRows, WatchedFile, open_converter
from pipeline.row_files.mapping import row_mapping
from pipeline.row_files.row import FileFormat, FileRow, ReadRow
from pipeline.row_files.rows import open_rows
from tests.support.worlds import plain_rules

_WATCH = model.Watch(
    watch="orders",
    source="shop",
    folder="/in",
    kind="track",
    name="Order",
    columns={"who": "identifiers.customer_id", "total": "properties.total", "at": "time"},
)
_CONFIG: Configuration = plain_rules().config
_FILE = WatchedFile(_WATCH, "orders.csv", "digest", 10_000, 1_800_000_000_000)
_CODEC = Codec(recorded_versions())


def _write(path: Path, row_count: int) -> None:
    """Write good rows, and bad ones of every kind."""
    lines = [
        f"c-{number},{number}.5,2026-01-0{number % 9 + 1} 10:00:00" for number in range(row_count)
    ]
    lines[7::50] = [",3,"] * len(lines[7::50])
    lines[9::70] = ['"c-é\ud800",1,'] * len(lines[9::70])
    lines[11::90] = ["c,1,soon"] * len(lines[11::90])
    lines[13::110] = ["c,1,2,3,4"] * len(lines[13::110])
    path.write_bytes("\n".join(["who,total,at", *lines]).encode("utf-8", "surrogatepass"))


def _rows(path: Path) -> Iterator[ReadRow]:
    return open_rows(path, FileFormat(10_000, mapping=row_mapping(_WATCH))).rows()


def _prepare(batches: Iterator[ConvertedRows], folder: Path) -> tuple[RowCounts, list[bytes]]:
    folder.mkdir()
    prepared_files = PreparedFiles(folder / "records", folder / "letters", folder / "rejected")
    counts = prepare(batches, prepared_files, lambda _: None)
    return counts, [
        file.read_bytes()
        for file in (prepared_files.records, prepared_files.letters, prepared_files.rejected_csv)
    ]


def test_helpers_prepare_the_same_as_one_process(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    _write(path, 5_000)
    result_alone = _prepare(
        convert_here(_rows(path), open_converter(_FILE, _CONFIG, _CODEC)), tmp_path / "alone"
    )
    result_with_helpers = _prepare(
        convert_with_helpers(_rows(path), _FILE, _CONFIG, _CODEC), tmp_path / "helped"
    )
    assert result_with_helpers == result_alone
    assert result_alone[0].row_count == 5_000
    assert result_alone[0].rejected_count > 200


def test_wide_rows_are_converted_in_smaller_batches() -> None:
    converter = open_converter(_FILE, _CONFIG, _CODEC)
    wide_row = FileRow(1, b"x" * 1_000_000, 1)
    row_counts = [batch.rejected_count for batch in convert_here([wide_row] * 10, converter)]
    assert row_counts == [5, 5]
    narrow_row = FileRow(1, b"x", 1)
    assert [batch.rejected_count for batch in convert_here([narrow_row] * 600, converter)] == [
        512,
        88,
    ]


def test_ended_helper_is_reported_as_an_error() -> None:
    def yield_rows() -> Iterator[ReadRow]:
        for number in range(1, 1_000_000):
            if number == 10_000:
                for child in psutil.Process().children():
                    if "spawn_main" in " ".join(child.cmdline()):
                        child.kill()
            yield FileRow(number, b"{}", number)

    with pytest.raises(HelperEndedError, match="exit code -9"):
        list(convert_with_helpers(yield_rows(), _FILE, _CONFIG, _CODEC))


_ENDLESS_SCRIPT = """
from tests.unit.test_ingest_helpers import convert_endlessly
if __name__ == "__main__":
    convert_endlessly()
"""


def convert_endlessly() -> None:
    """Convert endless rows with helpers, and print their process ids after each batch."""
    rows = (FileRow(number, b"{}", number) for number in count(1))
    for _ in convert_with_helpers(rows, _FILE, _CONFIG, _CODEC):
        print(*(child.pid for child in psutil.Process().children()), flush=True)


def test_helpers_end_with_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "endless.py"
    script.write_text(_ENDLESS_SCRIPT)
    root = Path(__file__).parents[2]
    parent = subprocess.Popen(
        (sys.executable, script), stdout=subprocess.PIPE, cwd=root, env={"PYTHONPATH": str(root)}
    )
    assert parent.stdout is not None
    helpers = [int(pid) for pid in parent.stdout.readline().split()]
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    assert helpers
    deadline = time.monotonic() + 30
    while any(map(_is_running, helpers)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
