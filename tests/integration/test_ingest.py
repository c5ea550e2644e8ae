"""Files from a folder to a real broker: each row is sent once, whatever happens meanwhile."""

import csv
import gzip
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline.home.codec import register
from pipeline.home.records import Records
from pipeline.home.topics import ensure_topics
from pipeline.model import topics
from pipeline.model.dead_letter import DeadLetterRecord
from pipeline.model.interaction import Interaction
from pipeline.settings import Settings
from pipeline.stack.configure import apply_folder
from tests.support.ingest import write_configuration
from tests.support.small_disk import small_disk

_WATCH = """watches:
  - watch: orders
    source: shop-files
    folder: {folder}
    pattern: "*.csv*"
    ready: {{by: rest, after: 100ms}}
    kind: track
    name: Order
    columns: {{customer: identifiers.customer_id, total: properties.total}}
    max_bad: 0.2
"""


class WatchedFolder:
    """Folder that a home watches, and the commands that take its files."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.folder = folder

    def command(self) -> list[str]:
        return [sys.executable, "-m", "pipeline.cli", "ingest", "--once", "--json"]

    def environment(self) -> dict[str, str]:
        settings = self.settings
        variables = {"KAIROS_HOME": str(settings.home)}
        variables["KAIROS_BOOTSTRAP_SERVERS"] = str(settings.bootstrap_servers)
        return {**os.environ, **variables}

    def run(self) -> list[dict[str, Any]]:
        """Take the folder's files, and return a report of each."""
        result = subprocess.run(
            self.command(), env=self.environment(), capture_output=True, timeout=200, check=False
        )
        assert result.stdout, result.stderr.decode()
        reports = msgspec.json.decode(result.stdout)
        assert result.returncode == any(
            report["state"] == "failed" or "warning" in report for report in reports
        )
        assert isinstance(reports, list)
        return reports

    def start(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            self.command(), env=self.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def interactions(self, customer: str) -> list[Interaction]:
        """Return the interactions of customers whose id begins with `customer`."""
        records = Records.of(self.settings).read_all(topics.INTERACTIONS, Interaction)
        return [
            interaction
            for _, interaction in records
            if interaction.identifiers[0].value.startswith(customer)
        ]

    def letters(self, name: str) -> list[DeadLetterRecord]:
        """Return the dead letters of a file of this folder."""
        letters = Records.of(self.settings).read_all(topics.DEAD_LETTERS, DeadLetterRecord)
        return [
            letter for _, letter in letters if letter.detail.startswith(f"{self.folder}/{name}:")
        ]


@pytest.fixture
def watch_folder(settings: Settings, tmp_path: Path) -> Callable[[str], WatchedFolder]:
    """Function that puts a watch in force for a folder of the test."""
    settings.home.mkdir(exist_ok=True)
    ensure_topics(settings, ())
    register(settings, ())

    def watch(text: str = _WATCH, home: Path | None = None) -> WatchedFolder:
        folder = tmp_path / "in"
        folder.mkdir(exist_ok=True)
        config = write_configuration(tmp_path / "config", text.format(folder=folder))
        apply_folder(settings, config, lambda _: None)
        return WatchedFolder(settings.model_copy(update={"home": home or settings.home}), folder)

    return watch


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _rows(customer: str, count: int, bad_interval: int = 0) -> str:
    """Return CSV of `count` rows, of which one in `bad_interval` (0: none) has no identifier."""
    lines = ["customer,total"]
    for number in range(count):
        is_bad = bad_interval and number % bad_interval == 0
        lines.append(f"{'' if is_bad else f'{customer}-{number}'},{number}.50")
    return "\n".join(lines) + "\n"


def test_good_rows_are_sent_and_bad_ones_lie_beside_the_file(watch_folder: Any) -> None:
    files = watch_folder()
    (files.folder / "a.csv").write_text(
        "customer,total\nmix-1,12.5\n,3\nmix-2,4\nmix-3,5\nmix-4,1\n"
    )
    [report] = files.run()
    assert report == {
        "file": str(files.folder / "a.csv"),
        "rows": 5,
        "sent": 4,
        "rejected": 1,
        "state": "done",
        "reason": None,
    }
    assert _names(files.folder) == ["done"]
    assert _names(files.folder / "done") == ["a.csv", "a.csv.rejected.csv"]
    with (files.folder / "done" / "a.csv.rejected.csv").open(newline="") as file:
        [row] = csv.DictReader(file)
    assert (row["line"], row["column"], row["original"]) == ("3", "customer", ",3")
    assert row["reason"].startswith("missing_identifier")
    interactions = files.interactions("mix-")
    assert {interaction.identifiers[0].value for interaction in interactions} == {
        "mix-1",
        "mix-2",
        "mix-3",
        "mix-4",
    }
    assert {
        (interaction.name, interaction.kind, interaction.source, interaction.channel)
        for interaction in interactions
    } == {("Order", "track", "shop-files", "file")}
    [letter] = files.letters("a.csv")
    assert (letter.stage, letter.value) == ("ingest", b",3\n")
    assert letter.headers["line"] == b"3"
    assert files.run() == []


def test_file_sent_twice_counts_once_and_another_content_of_its_name_counts(
    watch_folder: Any,
) -> None:
    files = watch_folder()
    text = _rows("twice", 20, bad_interval=10)
    (files.folder / "a.csv").write_text(text)
    assert files.run()[0]["sent"] == 18
    (files.folder / "a.csv").write_text(text)
    (files.folder / "b.csv").write_text(text)
    second_reports = files.run()
    assert [(report["state"], report["sent"]) for report in second_reports] == [
        ("done", 0),
        ("done", 0),
    ]
    assert "taken before" in second_reports[0]["reason"]
    (files.folder / "a.csv").write_text("customer,total\ntwice-new,1\n")
    assert files.run()[0]["sent"] == 1
    assert len(files.interactions("twice-")) == 19
    assert len(files.letters("a.csv")) == 2
    done_names = _names(files.folder / "done")
    assert len([name for name in done_names if name.endswith("-a.csv")]) == 2
    assert (files.folder / "done" / "a.csv").read_text() == text


def test_file_with_too_many_bad_rows_stops_before_anything_is_sent(watch_folder: Any) -> None:
    files = watch_folder()
    (files.folder / "a.csv").write_text(_rows("much", 10, bad_interval=3))
    [report] = files.run()
    assert (report["state"], report["rows"], report["sent"], report["rejected"]) == (
        "failed", 10, 0, 4,
    )  # fmt: skip
    assert "4 of its 10 rows" in report["reason"]
    assert _names(files.folder / "failed") == [
        "a.csv", "a.csv.reason.txt", "a.csv.rejected.csv",
    ]  # fmt: skip
    assert not files.interactions("much-")
    assert not files.letters("a.csv")


def test_file_that_cannot_be_read_is_set_aside_and_the_next_is_taken(watch_folder: Any) -> None:
    files = watch_folder()
    (files.folder / "a.csv").write_text("customer,unknown\nx,1\n")
    (files.folder / "b.csv.gz").write_bytes(b"\x1f\x8bno gzip")
    (files.folder / "c.csv").write_text(_rows("next", 3))
    reports = files.run()
    assert [report["state"] for report in reports] == ["failed", "failed", "done"]
    reason = (files.folder / "failed" / "a.csv.reason.txt").read_text()
    assert reason.startswith("a.csv:1: it has no column 'total'")
    assert "cannot be unpacked" in (files.folder / "failed" / "b.csv.gz.reason.txt").read_text()
    assert len(files.interactions("next-")) == 3


_POINTS = {
    "while the file is made into records": lambda home: any(home.glob("files/*/records")),
    "once all records are made": lambda home: any(home.glob("files/*/prepared.json")),
    "while records are sent": lambda home: _position(home) > 0,
    "while dead letters are sent": lambda home: _has_letters(home),
}


def _query(home: Path, query: str) -> Any:
    """Return an expression over the journal's sendings; None without a journal or a sending."""
    try:
        connection = sqlite3.connect(f"file:{home}/journal.sqlite?mode=rw", timeout=5, uri=True)
        row = connection.execute(f"SELECT {query} FROM sending").fetchone()
        connection.close()
    except sqlite3.OperationalError:
        return None
    return row and row[0]


def _position(home: Path) -> int:
    return _query(home, "max(position)") or 0


def _has_letters(home: Path) -> bool:
    return _query(home, "max(letters)") is not None


@pytest.mark.timeout(900)  # the command runs eight times or more
@pytest.mark.parametrize("point", _POINTS)
def test_kill_at_each_point_loses_nothing_and_doubles_nothing(
    watch_folder: Any, point: str
) -> None:
    files = watch_folder()
    count = 10_000
    customer = _kill_at_point(files, point, count)
    [report] = files.run()
    assert (report["state"], report["rejected"]) == ("done", count // 100)
    interactions = files.interactions(f"{customer}-")
    assert len({interaction.event_id for interaction in interactions}) == count - count // 100
    assert (
        len({interaction.identifiers[0].value for interaction in interactions})
        == count - count // 100
    )
    copies = {
        (interaction.event_id, interaction.received_at, interaction.occurred_at)
        for interaction in interactions
    }
    assert len(copies) == count - count // 100
    assert len(files.letters(f"{customer}.csv")) == count // 100


def _kill_at_point(files: WatchedFolder, point: str, count: int) -> str:
    """Kill the command at a point of a file's processing, and return the prefix of the file's
    customers; try again with another file if the first was finished before."""
    for attempt in range(20):
        customer = f"kill{list(_POINTS).index(point)}-{attempt}"
        path = files.folder / f"{customer}.csv"
        path.write_text(_rows(customer, count, bad_interval=100))
        process = files.start()
        while process.poll() is None:
            if _POINTS[point](files.settings.home / "state" / "ingest"):
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.001)
        process.communicate()
        if path.exists():
            return customer
    pytest.fail(f"never seen in time: {point}")


_LISTS = """watches:
  - watch: segments
    source: shop-files
    folder: {folder}
    ready: {{by: rest, after: 100ms}}
    feed: interaction-studio-segment-lists
  - watch: suppressions
    source: shop-files
    folder: {folder}
    ready: {{by: rest, after: 100ms}}
    pattern: "suppressed-*.csv"
    permissions: {{channels: [web]}}
    columns: {{id: identifiers.customer_id, reason: permission.state, at: time}}
"""


def test_departures_from_lists_count_and_a_repeated_row_counts_once(watch_folder: Any) -> None:
    files = watch_folder(_LISTS)
    long_list, short_list = (
        "userId,segment\nlist-1,Gold\nlist-2,Gold\n",
        "userId,segment\nlist-1,Gold\n",
    )
    for number, text in enumerate((long_list, short_list, long_list), start=1):
        (files.folder / f"segment-replace-2026-11-0{number}_03-00-00.csv").write_text(text)
    rows = "id,reason,at\nlist-9,bounced,2026-11-01\nlist-9,bounced,2026-11-01\n"
    (files.folder / "suppressed-1.csv").write_text(rows)
    (files.folder / "suppressed-2.csv").write_text(rows + "list-9,complaint,2026-11-02\n")
    assert [report["sent"] for report in files.run()] == [2, 2, 2, 2, 3]
    interactions = files.interactions("list-")
    changes = Counter(
        (interaction.properties["operation"], interaction.identifiers[0].value)
        for interaction in interactions
        if interaction.name == "Manual Segment Changed"
    )
    assert changes == {("add", "list-1"): 3, ("add", "list-2"): 2, ("remove", "list-2"): 1}
    outcomes = [
        (interaction.name, interaction.event_id)
        for interaction in interactions
        if interaction.kind == "outcome"
    ]
    assert len(outcomes) == 5
    assert {name for name, _ in set(outcomes)} == {"bounce", "complaint"}
    assert len(set(outcomes)) == 2


def test_departures_are_known_to_another_home_and_their_loss_is_reported(
    watch_folder: Any, tmp_path: Path
) -> None:
    texts = {
        number: "userId,segment\n" + "".join(f"home-{member},Gold\n" for member in members)
        for number, members in enumerate(("123", "23", "3"), start=1)
    }
    names = {number: f"segment-replace-2026-11-0{number}_03-00-00.csv.gz" for number in texts}
    for number, text in texts.items():
        files = watch_folder(_LISTS, home=tmp_path / f"home-{number}")
        (files.folder / names[number]).write_bytes(gzip.compress(text.encode()))
        if number == 3:
            (files.folder / "done" / names[2]).unlink()
        [report] = files.run()
        assert (report["state"], report.get("warning")) == (
            "done",
            "list_memory_lost" if number == 3 else None,
        )
    removed_ids = [
        interaction.identifiers[0].value
        for interaction in files.interactions("home-")
        if interaction.properties["operation"] == "remove"
    ]
    assert removed_ids == ["home-1"]


@pytest.mark.parametrize("free_kib", [0, 100])
def test_full_disk_is_reported_and_each_row_counts_once_afterwards(
    watch_folder: Any, tmp_path: Path, free_kib: int
) -> None:
    home = tmp_path / "home"
    files = watch_folder(home=home)
    count, customer = 3_000, f"full{free_kib}"
    (files.folder / "a.csv").write_text(_rows(customer, count, bad_interval=100))
    (home / "state").mkdir(parents=True)
    with small_disk(home / "state" / "ingest", megabytes=8):
        filler = home / "state" / "ingest" / "filler"
        _fill(filler, free_kib)
        [report] = files.run()
        assert (report["state"], report["sent"]) == ("failed", 0)
        assert "No space left" in report["reason"] or "disk is full" in report["reason"]
        assert _names(files.folder) == ["a.csv"]
        filler.unlink()
        [report] = files.run()
        assert (report["state"], report["sent"]) == ("done", count - count // 100)
    assert (
        len({interaction.event_id for interaction in files.interactions(f"{customer}-")})
        == count - count // 100
    )
    assert len(files.letters("a.csv")) == count // 100


def test_full_disk_of_the_folder_keeps_the_file_there_until_there_is_room(
    watch_folder: Any, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "in", megabytes=1):
        files = watch_folder()
        (files.folder / "a.csv").write_text(_rows("brim", 1_000, bad_interval=10))
        _fill(files.folder / "filler", 0)
        [report] = files.run()
        assert (report["state"], report["sent"]) == ("failed", 0)
        assert "No space left" in report["reason"]
        (files.folder / "filler").unlink()
        [report] = files.run()
        assert (report["state"], report["sent"]) == ("done", 900)
        assert _names(files.folder / "done") == ["a.csv", "a.csv.rejected.csv"]
    assert len(files.interactions("brim-")) == 900
    assert len(files.letters("a.csv")) == 100


def _fill(filler: Path, free_kib: int) -> None:
    """Fill a disk until `free_kib` KiB are free."""
    with filler.open("wb") as file, suppress(OSError):
        file.write(bytes(shutil.disk_usage(filler.parent).free))
        file.flush()
    if free_kib:
        os.truncate(filler, filler.stat().st_size - free_kib * 1024)


def test_two_watchers_take_each_file_once(watch_folder: Any) -> None:
    files = watch_folder()
    (files.folder / "a.csv").write_text(_rows("both", 5_000))
    watchers = [files.start(), files.start()]
    reports = [msgspec.json.decode(watcher.communicate(timeout=200)[0]) for watcher in watchers]
    assert sorted(len(report) for report in reports) == [0, 1]
    assert len(files.interactions("both-")) == 5_000
