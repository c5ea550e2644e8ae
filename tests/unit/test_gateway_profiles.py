"""Profiles can be read and erased over HTTP by any id that they have, whatever its characters."""

from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.config import model
from pipeline.model import topics
from pipeline.model.identity import IdentityChange
from pipeline.model.profile import Profile
from pipeline.profile_reads.view import ViewRecord
from tests.support.doorway import SERVER_KEY, Doorway, configuration, doorway


def ask(door: Doorway, method: str, path: str) -> httpx.Response:
    return door.request(method, f"/v1/profiles/{path}", SERVER_KEY)


def open_gateway(folder: str | Path) -> Doorway:
    return doorway(configuration(model.Source("shop", "web", "server-key-1")), Path(folder))


def add_person(door: Doorway, key: str) -> None:
    """Add a profile with this identifier alone to the view."""
    ana = Profile("p-1", key, (key,), {"plan": "gold"}, 1, 1, 1, "digest")
    value = door.codec.encode(topics.PROFILES, ana)
    door.view.apply([ViewRecord(topics.PROFILES, 0, 0, "p-1", value)])


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).map(lambda s: f"x{s}x"))
@example("a\nb")
@example("null")
@example("a\r\n\u2028b/c?d#e%2Fé;=&+ \x00\x85f\n")
def test_stored_profile_can_be_read_and_erased_by_any_id(value: str) -> None:
    with TemporaryDirectory() as folder:
        door = open_gateway(folder)
        key = f"customer_id:{value}"
        path = f"customer_id/{quote(value, safe='')}"
        add_person(door, key)
        for tail in ("", "/export"):
            response = ask(door, "GET", path + tail)
            assert (response.status_code, response.json()["root"]) == (200, key)
        answer = ask(door, "DELETE", path)
        assert (answer.status_code, answer.json()["identifiers"]) == (202, [key])
        [record] = door.log.records
        change = door.codec.decode(topics.IDENTITIES, record.value or b"")
        assert isinstance(change, IdentityChange)
        assert (change.kind, change.identifier) == ("forget", key)


@pytest.mark.parametrize("value", ["a%0Ab", "null", "%20", "a%00"])
def test_blocked_id_of_no_profile_is_refused(tmp_path: Path, value: str) -> None:
    door = open_gateway(tmp_path)
    for method in ("GET", "DELETE"):
        error = ask(door, method, f"customer_id/{value}").json()["error"]
        assert (error["code"], error["field"]) == ("invalid_identifier", "value")
    assert not door.log.records


def test_unknown_profile_can_be_erased(tmp_path: Path) -> None:
    door = open_gateway(tmp_path)
    assert ask(door, "GET", "customer_id/ana").json()["error"]["code"] == "unknown_profile"
    assert ask(door, "DELETE", "customer_id/ana").status_code == 202


@pytest.mark.parametrize("path", ["", "customer_id", "customer_id/a/b", "customer_id/a/export/c"])
def test_paths_of_another_form_are_not_found(tmp_path: Path, path: str) -> None:
    answer = ask(open_gateway(tmp_path), "GET", path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
