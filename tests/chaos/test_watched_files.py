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
from tests.support.ingest import configuration_for_server
from tests.support.sshd import SSHD, running_sshd
from tests.support.stack import Stack, eventually, running_stack

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(SSHD is None, reason="there is no OpenSSH server here"),
    pytest.mark.timeout(600),
]

_FILES, _ROWS = 6, 1_500
_LARGE_ROWS, _WIDE = 12_000, "x" * 400
"""A file of more than 4 MiB, whose rows helpers judge."""

_BAD_EVERY = 50
_CONFIGURATION = Path(__file__).parent / "files"
_TAKEN_S = 300.0


@dataclass(frozen=True)
class _Night:
    """Stack, and the folder of the SFTP server that it watches."""

    stack: Stack
    inbox: Path

    def put(self, name: str, text: str) -> None:
        """Put a file there as senders do: under another name until it is whole."""
        part = self.inbox / f"{name}.part"
        part.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
        part.rename(self.inbox / name)


@pytest.fixture
def night(tmp_path: Path) -> Iterator[_Night]:
    inbox, random = tmp_path / "inbox", Random(f"{SEED}/cuts")
    inbox.mkdir()

    def most_bytes() -> int | None:
        """Cut most connections: at the greeting, within a listing, within a file."""
        return None if random.random() < 0.4 else random.choice((300, 4_000, 40_000, 2_000_000))

    with (
        running_sshd(tmp_path / "ssh") as server,
        cutting_proxy(server.port, most_bytes) as port,
    ):
        variables = {"KAIROS_PARTITIONS": "2", "SFTP_KEY": str(server.private_key)}
        configuration = configuration_for_server(
            _CONFIGURATION, tmp_path / "configuration", server, port, inbox
        )
        with running_stack(Stack(tmp_path / "home", configuration, variables)) as stack:
            yield _Night(stack, inbox)


def _rows(file: int, count: int, note: str) -> str:
    """Return a file in which one row in `_BAD_EVERY` has no identifier."""
    lines = ["customer,number,note"]
    for number in range(count):
        customer = "" if number % _BAD_EVERY == 0 else f"c-{number % 300}"
        lines.append(f"{customer},{file}/{number},{note}")
    return "\n".join(lines) + "\n"


def test_row_counts_once_over_kills_and_cut_connections(
    night: _Night, note: Callable[[str], None]
) -> None:
    random = Random(f"{SEED}/files")
    files_sent = [
        (f"night-{number}.csv{'.gz' if number % 2 else ''}", _ROWS, "") for number in range(_FILES)
    ]
    files_sent.append(("large.csv", _LARGE_ROWS, _WIDE))
    with kills(night.stack, ("ingest",), (1.0, 4.0), random) as kill_counts:
        for number, (name, rows, wide) in enumerate(files_sent):
            night.put(name, _rows(number, rows, wide))
            time.sleep(random.uniform(0.5, 2.0))
        night.put("night-0-again.csv", _rows(0, _ROWS, ""))
        eventually(lambda: kill_counts.total() >= 6, _TAKEN_S)
    names = {name for name, *_ in files_sent} | {"night-0-again.csv"}
    done_folder = night.inbox / "done"
    eventually(lambda: all((done_folder / name).exists() for name in names), _TAKEN_S)
    eventually(lambda: not list((night.stack.home / "state/ingest/files").glob("*")), _TAKEN_S)
    night.stack.wait_until_idle()
    counts_by_number = Counter(
        str(segmented.interaction.properties["number"])
        for _, segmented in night.stack.records.every(topics.SEGMENTED, Segmented)
        if segmented.interaction is not None and segmented.interaction.name == "Order Placed"
    )
    expected = {
        f"{file}/{number}"
        for file, (_, rows, _) in enumerate(files_sent)
        for number in range(rows)
        if number % _BAD_EVERY
    }
    rows_written = sum(1 for _ in night.stack.records.every(topics.INTERACTIONS, Interaction))
    note(
        f"files: killed {kill_counts.total()} times; "
        f"{len(counts_by_number):,} rows of {rows_written:,} records"
    )
    assert counts_by_number.keys() == expected
    assert max(counts_by_number.values()) == 1
    letters = Counter(
        (letter.headers["file"], letter.headers["line"])
        for _, letter in night.stack.records.every(topics.DEAD_LETTERS, DeadLetterRecord)
    )
    bad = sum(-(-rows // _BAD_EVERY) for _, rows, _ in files_sent)
    assert set(letters.values()) == {1}
    assert len(letters) == bad
    assert not (night.inbox / "failed").exists()
    names_left = {path.name for path in night.inbox.iterdir()}
    assert names_left == {"done"}, names_left
