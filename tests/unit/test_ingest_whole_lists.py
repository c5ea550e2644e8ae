"""A file that replaces a list adds its customers and removes customers who are no longer in it."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from pipeline.config import model
from pipeline.config.feeds import complete_by_feed
from pipeline.home.last_files import LastFile, ingest_folder, write_last_file
from pipeline.ingest.list_memory import ListMemory
from pipeline.ingest.places import open_folder
from pipeline.ingest.whole_lists import WholeList, find_list
from pipeline.row_files.mapping import row_mapping
from pipeline.row_files.row import FileFormat, FileRow, RowFile, UnreadableError
from pipeline.row_files.rows import open_rows
from pipeline.settings import Settings
from pipeline.stack.doctor import examine
from tests.support.deciding import problems, world

_FEED = model.Watch("lists", "shop", "/in", feed="interaction-studio-segment-lists")
_NAMESPACES = [{"name": "customer_id"}, {"name": "email", "normalise": "email"}]
_IDENTITY = world(identity={"namespaces": _NAMESPACES}).config.identity


class _ListHome:
    """Home that takes files one after the other; `history_digests` identify the files taken."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.history_digests: list[str] = []

    def take(self, text: str, watch: model.Watch = _FEED) -> list[tuple[str, str, str]]:
        """Return operation, segment and customer of the changes that a file makes."""
        digest = sha256(text.encode()).hexdigest()
        rows = self._open(text, watch)
        whole_list = find_list(rows, self.folder / "lists", _IDENTITY)
        assert whole_list is not None
        self.history_digests.append(whole_list.history_digest(digest))
        changes = list(whole_list.derive_changes(rows.rows(), self.folder / "members"))
        last_file = whole_list.sent_file_record(digest, self.history_digests[-1], "a.csv")
        whole_list.store(self.folder / "members", last_file)
        assert len({change.line for change in changes}) == len(changes)
        return [_change_of(change) for change in changes if isinstance(change, FileRow)]

    def _open(self, text: str, watch: model.Watch) -> RowFile:
        path = self.folder / "segment-replace.csv"
        path.write_text(text)
        return open_rows(path, FileFormat(10_000, mapping=row_mapping(complete_by_feed(watch))))


def _change_of(row: FileRow) -> tuple[str, str, str]:
    record: dict[str, Any] = msgspec.json.decode(row.raw)
    properties = record["properties"]
    return properties["operation"], properties["segment"], record["identifiers"][0]["value"]


def test_customer_who_is_gone_from_the_next_file_is_removed(tmp_path: Path) -> None:
    lists = _ListHome(tmp_path)
    assert lists.take("userId,segment\nana,Gold\nbo,Gold\n") == [
        ("add", "Gold", "ana"),
        ("add", "Gold", "bo"),
    ]
    assert lists.take("segment,userId\nGold,cy\nGold,bo\n") == [
        ("add", "Gold", "cy"),
        ("add", "Gold", "bo"),
        ("remove", "Gold", "ana"),
    ]


def test_each_list_has_its_own_members(tmp_path: Path) -> None:
    lists = _ListHome(tmp_path)
    lists.take("userId,segment\nana,Gold\n")
    assert lists.take("userId,segment\nbo,Silver\n") == [("add", "Silver", "bo")]
    assert lists.take("userId,segment\ncy,Gold\n")[-1] == ("remove", "Gold", "ana")


def test_earlier_content_has_a_new_digest_and_repeated_content_the_same(
    tmp_path: Path,
) -> None:
    lists = _ListHome(tmp_path)
    large_list, small_list = "userId,segment\nana,Gold\nbo,Gold\n", "userId,segment\nana,Gold\n"
    for text in (large_list, small_list, large_list, large_list):
        lists.take(text)
    first_id, second_id, third_id, fourth_id = lists.history_digests
    assert len({first_id, second_id, third_id}) == 3
    assert third_id == fourth_id


def test_customer_is_the_same_in_any_spelling_and_with_another_address(tmp_path: Path) -> None:
    columns = {"mail": "identifiers.email", "segment": "properties.segment"}
    watch = model.Watch("w", "shop", "/in", kind="track", columns=columns, replaces=True)
    lists = _ListHome(tmp_path)
    lists.take("mail,segment\nAna@Example.com,Gold\n", watch)
    assert len(lists.take("mail,segment\nana@example.com,Gold\n", watch)) == 1
    both_columns = msgspec.structs.replace(
        watch, columns={**columns, "id": "identifiers.customer_id"}
    )
    lists.take("id,mail,segment\n7,ana@example.com,Gold\n", both_columns)
    assert len(lists.take("id,mail,segment\n7,new@example.com,Gold\n", both_columns)) == 1


def test_file_of_two_lists_is_refused_by_line(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="line 3 is of another list"):
        _ListHome(tmp_path).take("userId,segment\nana,Gold\nbo,Silver\n")


class _SharedPlace:
    """Folder from which several homes take files, and in which they share the list's memory."""

    def __init__(self, folder: Path) -> None:
        self.inbox = folder / "in"
        self.inbox.mkdir(parents=True)

    def take(self, home: Path, name: str, text: str) -> tuple[list[str], bool]:
        """Return the customers that a file removes, and whether the former members are lost."""
        (self.inbox / name).write_text(text)
        home.mkdir(exist_ok=True)
        with open_folder(self.inbox) as place:
            digest, rows = self._open(self.inbox / name)
            whole_list = find_list(rows, home / "lists" / "gold", _IDENTITY)
            assert whole_list is not None
            memory = ListMemory(whole_list, place)
            memory.recall(digest, self._open_former_file)
            history_digest = whole_list.history_digest(digest)
            changes = list(whole_list.derive_changes(rows.rows(), home / "members"))
            last_file = memory.write_note(
                whole_list.sent_file_record(digest, history_digest, name), home / "note"
            )
            whole_list.store(home / "members", last_file)
            place.move(name, "done", name)
        all_changes = [_change_of(change) for change in changes if isinstance(change, FileRow)]
        removed_identifiers = [
            identifier for operation, _, identifier in all_changes if operation == "remove"
        ]
        return removed_identifiers, whole_list.is_after_loss(digest)

    @contextmanager
    def _open_former_file(self, name: str) -> Iterator[tuple[str, RowFile]]:
        yield self._open(self.inbox / "done" / name)

    def _open(self, path: Path) -> tuple[str, RowFile]:
        digest = sha256(path.read_bytes()).hexdigest()
        return digest, open_rows(
            path, FileFormat(10_000, mapping=row_mapping(complete_by_feed(_FEED)))
        )


_FIRST_LIST = "userId,segment\nana,Gold\nbo,Gold\n"
_SECOND_LIST = "userId,segment\nana,Gold\ncy,Gold\n"
_THIRD_LIST = "userId,segment\ncy,Gold\n"


def test_home_removes_customers_missing_since_the_last_file_of_any_home(
    tmp_path: Path,
) -> None:
    place = _SharedPlace(tmp_path)
    home, other_home = tmp_path / "one", tmp_path / "two"
    place.take(home, "a.csv", _FIRST_LIST)
    assert place.take(other_home, "b.csv", _SECOND_LIST) == (["bo"], False)
    assert place.take(home, "c.csv", _THIRD_LIST) == (["ana"], False)


@pytest.mark.parametrize("loss", ["a.csv removed", "a.csv changed"])
def test_loss_of_a_lists_memory_everywhere_is_reported_once(tmp_path: Path, loss: str) -> None:
    place = _SharedPlace(tmp_path)
    place.take(tmp_path / "one", "a.csv", _FIRST_LIST)
    former_file = place.inbox / "done" / "a.csv"
    former_file.write_text("userId,segment\n") if loss.endswith("changed") else former_file.unlink()
    home = tmp_path / "home"
    assert place.take(home, "b.csv", _SECOND_LIST) == ([], True)
    assert place.take(home, "c.csv", _THIRD_LIST) == (["ana"], False)


def test_doctor_names_a_list_that_removed_nobody(tmp_path: Path) -> None:
    folder = ingest_folder(tmp_path) / "lists" / "gold" / "1"
    folder.mkdir(parents=True)
    last_file = LastFile("d", "k", "b.csv", '{"segment":"Gold"}', "renewed")
    write_last_file(folder, last_file)
    findings = [
        finding for finding in examine(Settings(home=tmp_path)) if "Gold" in finding.subject
    ]
    assert [(finding.grade, "removed nobody" in finding.text) for finding in findings] == [
        ("note", True)
    ]
    write_last_file(folder, replace(last_file, memory="kept"))
    assert not [
        finding for finding in examine(Settings(home=tmp_path)) if "Gold" in finding.subject
    ]


def test_list_is_kept_in_the_home_where_nothing_can_be_written_beside_its_files(
    tmp_path: Path,
) -> None:
    whole_list = WholeList(tmp_path / "lists" / "gold" / "1", b"{}", _IDENTITY)
    (tmp_path / "done").write_text("a file in the way")
    with open_folder(tmp_path) as folder:
        memory = ListMemory(whole_list, folder)
        last_file = memory.write_note(
            whole_list.sent_file_record("d", "k", "a.csv"), tmp_path / "note"
        )
        assert not last_file.is_shared
        whole_list.store(tmp_path / "members", last_file)
        memory.recall("e", lambda _: nullcontext(("", RowFile(0, lambda: iter(())))))
    assert whole_list.last_file() == last_file


@pytest.mark.parametrize("target", ["time", "id"])
def test_list_with_a_column_of_times_or_ids_is_refused(target: str) -> None:
    columns = {"who": "identifiers.customer_id", "at": target}
    watch = {
        "watch": "w", "source": "shop", "folder": "/in", "kind": "track", "name": "Listed",
        "replaces": True, "columns": columns,
    }  # fmt: skip
    [(path, reason)] = problems(ingest={"watches": [watch]})
    assert path == "ingest/watches/0/columns/at"
    assert "when it is taken" in reason


def test_list_with_keys_is_refused() -> None:
    watch = {
        "watch": "w",
        "source": "shop",
        "folder": "/in",
        "feed": "interaction-studio-segment-lists",
        "key": ["properties.segment"],
    }
    [(path, _)] = problems(ingest={"watches": [watch]})
    assert path == "ingest/watches/0/key"
