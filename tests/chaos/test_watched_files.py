"""The watcher under kills, over SFTP connections that are cut: each row counts once, each bad row
is one dead letter, and every file ends in `done/`."""

import gzip
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from pipeline.model import topics
from pipeline.model.dead_letter import DeadLetterRecord
from pipeline.model.interaction import Interaction
from pipeline.model.stages import Segmented
from tests.chaos.killing import SEED, kills
from tests.support.cutting import cutting_proxy
from tests.support.ingest import copy_configuration_for_server
from tests.support.sshd import SSHD, running_sshd
from tests.support.stack import Stack, eventually, running_stack

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(SSHD is None, reason="no OpenSSH server is installed"),
    pytest.mark.timeout(600),
]

_FILES, _ROWS = 6, 1_500
_LARGE_FILE_ROWS, _LONG_NOTE = 12_000, "x" * 400
"""Number and note of the rows of a file of more than 4 MiB, which helper processes read."""

_BAD_ROW_INTERVAL = 50
_CONFIGURATION = Path(__file__).parent / "files"
_PATIENCE_S = 300.0


@dataclass(frozen=True)
class _WatchedServer:
    """Stack, and the folder of the SFTP server that it watches."""

    stack: Stack
    inbox: Path

    def put(self, name: str, text: str) -> None:
        """Put a file into the folder as senders do: under another name until it is complete."""
        part = self.inbox / f"{name}.part"
        part.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
        part.rename(self.inbox / name)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[_WatchedServer]:
    inbox, random = tmp_path / "inbox", Random(f"{SEED}/cuts")
    inbox.mkdir()

    def draw_max_bytes() -> int | None:
        """Return the number of bytes after which a connection is cut: within the greeting, a
        listing or a file; None for a connection that is not cut."""
        return None if random.random() < 0.4 else random.choice((300, 4_000, 40_000, 2_000_000))

    with (
        running_sshd(tmp_path / "ssh") as server,
        cutting_proxy(server.port, draw_max_bytes) as port,
    ):
        variables = {"KAIROS_PARTITIONS": "2", "SFTP_KEY": str(server.private_key)}
        configuration = copy_configuration_for_server(
            _CONFIGURATION, tmp_path / "configuration", server, port, inbox
        )
        with running_stack(Stack(tmp_path / "home", configuration, variables)) as stack:
            yield _WatchedServer(stack, inbox)


def _file_text(file: int, count: int, note: str) -> str:
    """Return the text of a CSV file in which one row in `_BAD_ROW_INTERVAL` has no identifier."""
    lines = ["customer,number,note"]
    for number in range(count):
        customer = "" if number % _BAD_ROW_INTERVAL == 0 else f"c-{number % 300}"
        lines.append(f"{customer},{file}/{number},{note}")
    return "\n".join(lines) + "\n"


def test_row_counts_once_over_kills_and_cut_connections(
    folder: _WatchedServer, note: Callable[[str], None]
) -> None:
    random = Random(f"{SEED}/files")
    files = [
        (f"night-{number}.csv{'.gz' if number % 2 else ''}", _ROWS, "") for number in range(_FILES)
    ]
    files.append(("large.csv", _LARGE_FILE_ROWS, _LONG_NOTE))
    with kills(folder.stack, ("ingest",), (1.0, 4.0), random) as kill_counts:
        for number, (name, rows, row_note) in enumerate(files):
            folder.put(name, _file_text(number, rows, row_note))
            time.sleep(random.uniform(0.5, 2.0))
        folder.put("night-0-again.csv", _file_text(0, _ROWS, ""))
        eventually(lambda: kill_counts.total() >= 6, _PATIENCE_S)
    _wait_until_done(folder, {name for name, *_ in files} | {"night-0-again.csv"})
    counts = _check_rows(folder, [rows for _, rows, _ in files])
    record_count = sum(1 for _ in folder.stack.records.read_all(topics.INTERACTIONS, Interaction))
    note(
        f"files: killed {kill_counts.total()} times; "
        f"{len(counts):,} rows of {record_count:,} records"
    )
    _check_dead_letters(folder, sum(-(-rows // _BAD_ROW_INTERVAL) for _, rows, _ in files))
    assert [path.name for path in folder.inbox.iterdir()] == ["done"]


def _wait_until_done(folder: _WatchedServer, names: set[str]) -> None:
    """Wait until the files are in `done/` and their interactions are processed."""
    done_folder = folder.inbox / "done"
    eventually(lambda: all((done_folder / name).exists() for name in names), _PATIENCE_S)
    copies = folder.stack.home / "state/ingest/files"
    eventually(lambda: not list(copies.glob("*")), _PATIENCE_S)
    folder.stack.wait_until_idle()


def _check_rows(folder: _WatchedServer, row_counts: list[int]) -> Counter[str]:
    """Check that each valid row of the files counts once; return the counts by row."""
    counts = Counter(
        str(segmented.interaction.properties["number"])
        for _, segmented in folder.stack.records.read_all(topics.SEGMENTED, Segmented)
        if segmented.interaction is not None and segmented.interaction.name == "Order Placed"
    )
    assert counts.keys() == {
        f"{file}/{number}"
        for file, rows in enumerate(row_counts)
        for number in range(rows)
        if number % _BAD_ROW_INTERVAL
    }
    assert max(counts.values()) == 1
    return counts


def _check_dead_letters(folder: _WatchedServer, bad_row_count: int) -> None:
    """Check that each bad row is one dead letter."""
    letters = Counter(
        (letter.headers["file"], letter.headers["line"])
        for _, letter in folder.stack.records.read_all(topics.DEAD_LETTERS, DeadLetterRecord)
    )
    assert set(letters.values()) == {1}
    assert len(letters) == bad_row_count
