"""Whatever an id looks like, it can be read and erased over HTTP."""

import asyncio
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
from tests.support.doorway import SERVER_KEY, Doorway, configuration, doorway


def ask(door: Doorway, method: str, path: str) -> httpx.Response:
    async def send() -> httpx.Response:
        async with door.client(SERVER_KEY) as client:
            return await client.request(method, f"/v1/profiles/{path}")

    return asyncio.run(send())


def opened(folder: str | Path) -> Doorway:
    return doorway(configuration(model.Source("shop", "web", "server-key-1")), Path(folder))


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).map(lambda s: f"x{s}x"))
@example("a\nb")
@example("a\r\n\u2028b/c?d#e%2Fé;=&+ \x00\x85f")
def test_any_id_can_be_read_and_erased(value: str) -> None:
    with TemporaryDirectory() as folder:
        door = opened(folder)
        path = f"customer_id/{quote(value, safe='')}"
        for tail in ("", "/export"):
            assert ask(door, "GET", path + tail).json()["error"]["code"] == "unknown_profile"
        answer = ask(door, "DELETE", path)
        assert answer.status_code == 202
        assert answer.json()["identifiers"] == [f"customer_id:{value}"]
        [record] = door.log.records
        change = door.codec.decode(topics.IDENTITIES, record.value or b"")
        assert isinstance(change, IdentityChange)
        assert (change.kind, change.identifier) == ("forget", f"customer_id:{value}")


@pytest.mark.parametrize("path", ["", "customer_id", "customer_id/a/b", "customer_id/a/export/c"])
def test_paths_of_another_form_are_not_found(tmp_path: Path, path: str) -> None:
    answer = ask(opened(tmp_path), "GET", path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
