"""Files in a watched folder: when they are complete, how they may change, and the journal."""

from io import BytesIO
from pathlib import Path

import pytest

from pipeline.adapters.avro import Codec, recorded_versions
from pipeline.config import model
from pipeline.home.records import Records
from pipeline.ingest.journal import Journal, SendProgress, Stamp
from pipeline.ingest.places import DeniedError, PlaceError, fits, open_folder
from pipeline.ingest.readiness import FileReadiness
from pipeline.ingest.taking import Base, remove_leftovers
from pipeline.settings import Settings


def zero_s(_: Stamp) -> float:
    return 0.0


def test_unchanged_file_is_complete_after_its_time_and_a_change_restarts_it() -> None:
    readiness = FileReadiness(model.ReadyRule(after="5s"))
    small_file, large_file = Stamp("a", 1, 7), Stamp("a", 2, 7)
    assert not readiness.select_ready_files([small_file], frozenset("a"), 0, zero_s)
    assert not readiness.select_ready_files([large_file], frozenset("a"), 4, zero_s)
    assert not readiness.select_ready_files([large_file], frozenset("a"), 8.9, zero_s)
    assert readiness.select_ready_files([large_file], frozenset("a"), 9, zero_s) == {large_file}
    assert readiness.select_ready_files([small_file], frozenset("a"), 9, lambda _: 5.0) == {
        small_file
    }


def test_marker_makes_a_file_complete() -> None:
    readiness = FileReadiness(model.ReadyRule(by="marker", marker="{stem}.ok"))
    file = Stamp("a.csv.gz", 1, 1)
    assert not readiness.select_ready_files([file], frozenset({"a.csv.gz"}), 100, lambda _: 100.0)
    assert readiness.select_ready_files([file], frozenset({"a.csv.gz", "a.ok"}), 0, zero_s) == {
        file
    }


def test_unfinished_and_hidden_files_fit_no_pattern() -> None:
    assert fits("a.csv", "*.csv", ())
    assert not fits("a.csv", "*.csv", ("a*",))
    for name in (".a.csv", "a.csv.part", "a.csv.filepart", "a.tmp"):
        assert not fits(name, "*", ())


def test_links_and_folders_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    folder = tmp_path / "in"
    (folder / "b").mkdir(parents=True)
    (folder / "a").symlink_to(tmp_path / "secret")
    with open_folder(folder) as place:
        assert place.files() == []


def test_file_that_changed_since_its_listing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    with open_folder(tmp_path) as place:
        [stamp] = place.files()
        (tmp_path / "a").write_text("xy")
        with pytest.raises(PlaceError, match="changes"):
            place.fetch(stamp, BytesIO(), 100)


def test_move_is_denied_where_its_folder_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    (tmp_path / "done").write_text("a file in the way")
    with open_folder(tmp_path) as place, pytest.raises(DeniedError):
        place.move("a", "done", "a")


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(PlaceError, match="missing"), open_folder(tmp_path / "missing"):
        pass


def test_journal_keeps_progress_and_taken_files_over_restarts(tmp_path: Path) -> None:
    Journal(tmp_path).record_progress("c", SendProgress(7, {0: 3}))
    assert Journal(tmp_path).find_progress("c") == SendProgress(7, {0: 3})
    Journal(tmp_path).finish("c", "a.csv", 5, 1)
    assert Journal(tmp_path).find_progress("c") == SendProgress()
    entry = Journal(tmp_path).find_taken_file("c")
    assert entry is not None
    assert (entry.name, entry.row_count, entry.rejected_count) == ("a.csv", 5, 1)
    Journal(tmp_path).note_unmoved_file("w", Stamp("a", 1, 2))
    assert Journal(tmp_path).is_unmoved("w", Stamp("a", 1, 2))
    assert not Journal(tmp_path).is_unmoved("w", Stamp("a", 1, 3))


def test_remains_of_a_taken_file_after_a_kill_are_removed_and_nothing_else(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for content in ("taken", "half-sent"):
        (tmp_path / "files" / content).mkdir(parents=True)
        (tmp_path / "files" / content / "source").write_text("x")
        journal.record_progress(content, SendProgress(7))
    journal.finish("taken", "a.csv", 5, 1)
    base = Base(
        folder=tmp_path,
        journal=journal,
        records=Records(Settings(home=tmp_path), Codec(recorded_versions())),
        max_bytes=10_000,
        now_ms=lambda: 1,
        progress=lambda *_: None,
        apply_catalog=lambda _: None,
    )
    remove_leftovers(base)
    assert [path.name for path in (tmp_path / "files").iterdir()] == ["half-sent"]
