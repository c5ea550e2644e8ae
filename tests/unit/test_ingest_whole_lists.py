"""A file that replaces a list adds the customers in it and removes those no longer in it."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline.config import model
from pipeline.config.feeds import with_feed
from pipeline.ingest.whole_lists import find_list
from pipeline.row_files.mapping import row_mapping
from pipeline.row_files.row import FileFormat, FileRow, RowFile, UnreadableError
from pipeline.row_files.rows import open_rows
from tests.support.deciding import problems, world

_FEED = model.Watch("lists", "shop", "/in", feed="interaction-studio-segment-lists")
_SPACES = [{"name": "customer_id"}, {"name": "email", "normalise": "email"}]
_IDENTITY = world(identity={"namespaces": _SPACES}).config.identity


class _Lists:
    """Home in which files are taken one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known_by: list[str] = []

    def take(self, text: str, watch: model.Watch = _FEED) -> list[tuple[str, str, str]]:
        """Return operation, segment and customer of the changes that a file makes."""
        digest = sha256(text.encode()).hexdigest()
        rows = self._open(text, watch)
        found = find_list(rows, self.folder / "lists", _IDENTITY)
        assert found is not None
        self.known_by.append(found.known_by(digest))
        changes = list(found.changes(rows.rows(), self.folder / "members"))
        found.keep(self.folder / "members", digest, self.known_by[-1])
        assert len({change.line for change in changes}) == len(changes)
        return [_change_of(change) for change in changes if isinstance(change, FileRow)]

    def _open(self, text: str, watch: model.Watch) -> RowFile:
        path = self.folder / "segment-replace.csv"
        path.write_text(text)
        return open_rows(path, FileFormat(10_000, mapping=row_mapping(with_feed(watch))))


def _change_of(row: FileRow) -> tuple[str, str, str]:
    record: dict[str, Any] = msgspec.json.decode(row.raw)
    properties = record["properties"]
    return properties["operation"], properties["segment"], record["identifiers"][0]["value"]


def test_customer_who_is_gone_from_the_next_file_is_removed(tmp_path: Path) -> None:
    lists = _Lists(tmp_path)
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
    lists = _Lists(tmp_path)
    lists.take("userId,segment\nana,Gold\n")
    assert lists.take("userId,segment\nbo,Silver\n") == [("add", "Silver", "bo")]
    assert lists.take("userId,segment\ncy,Gold\n")[-1] == ("remove", "Gold", "ana")


def test_list_that_comes_again_later_is_another_file_and_the_last_one_again_is_not(
    tmp_path: Path,
) -> None:
    lists = _Lists(tmp_path)
    large, small = "userId,segment\nana,Gold\nbo,Gold\n", "userId,segment\nana,Gold\n"
    for text in (large, small, large, large):
        lists.take(text)
    first, second, third, fourth = lists.known_by
    assert len({first, second, third}) == 3
    assert third == fourth


def test_customer_is_the_same_in_any_spelling_and_with_another_address(tmp_path: Path) -> None:
    columns = {"mail": "identifiers.email", "segment": "properties.segment"}
    watch = model.Watch("w", "shop", "/in", kind="track", columns=columns, replaces=True)
    lists = _Lists(tmp_path)
    lists.take("mail,segment\nAna@Example.com,Gold\n", watch)
    assert len(lists.take("mail,segment\nana@example.com,Gold\n", watch)) == 1
    both = msgspec.structs.replace(watch, columns={**columns, "id": "identifiers.customer_id"})
    lists.take("id,mail,segment\n7,ana@example.com,Gold\n", both)
    assert len(lists.take("id,mail,segment\n7,new@example.com,Gold\n", both)) == 1


def test_file_of_two_lists_is_refused_by_line(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="line 3 is of another list"):
        _Lists(tmp_path).take("userId,segment\nana,Gold\nbo,Silver\n")


def test_list_has_no_keys() -> None:
    watch = {
        "watch": "w",
        "source": "shop",
        "folder": "/in",
        "feed": "interaction-studio-segment-lists",
        "key": ["properties.segment"],
    }
    [(where, _)] = problems(ingest={"watches": [watch]})
    assert where == "ingest/watches/0/key"
