"""One action and what a killed adapter left of it in the ledger, with a real gateway's socket."""

import asyncio
import time
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from pipeline.adapters import traces
from pipeline.adapters.webhook import Endpoint
from pipeline.delivery.courier import Courier, Parcel
from pipeline.delivery.ledger import Entry, Ledger
from pipeline.delivery.reporter import Address, Reporter
from pipeline.model.decision import Action
from pipeline.model.interaction import Identifier

_ACTION = Action(
    action_id="a",
    decision_id="d",
    event_id="e",
    profile_id="p",
    identifier=Identifier("email", "x@example.com"),
    purpose="marketing",
    campaign="c",
    offer="o",
    treatment="t",
    channel="email",
    placement=None,
    address="x@example.com",
    content={},
    created_at=0,
    deadline_at=1_000,
    token="token",
)

_TRACE = traces.begin()


def _delivered(folder: Path, written_ms: int, hops: list[str] | None = None) -> list[str]:
    """Outcomes that were reported, and `post` for each post to the receiver; `hops` gets what they
    carried of the action's trace."""
    seen: list[str] = []
    carried = [] if hops is None else hops

    async def gateway(request: web.Request) -> web.Response:
        outcomes = (await request.json())["outcomes"]
        seen.extend(one["outcome"] for one in outcomes)
        carried.extend(one.get("traceparent", "") for one in outcomes)
        return web.json_response({"success": True})

    async def receiver(request: web.Request) -> web.Response:
        seen.append("post")
        carried.append(request.headers["traceparent"])
        return web.Response(status=204)

    async def run() -> None:
        app = web.Application()
        app.router.add_post("/v1/outcomes", gateway)
        app.router.add_post("/hook", receiver)
        async with TestServer(app) as server, ClientSession() as client:
            url = str(server.make_url("")).rstrip("/")
            ledger = Ledger(folder)
            reporter = Reporter(client, lambda: Address(url, "key"))
            endpoint = Endpoint(f"{url}/hook", None)
            courier = Courier(client, lambda _: endpoint, ledger, reporter)
            try:
                assert await courier.deliver(Parcel(_ACTION, written_ms, _TRACE)) is None
            finally:
                ledger.close()

    asyncio.run(run())
    return seen


@pytest.fixture
def now_ms() -> int:
    return time.time_ns() // 1_000_000


def _left(folder: Path, entry: Entry) -> Path:
    ledger = Ledger(folder)
    ledger.put("a", entry)
    ledger.close()
    return folder


def test_it_is_posted_once_and_reported(tmp_path: Path, now_ms: int) -> None:
    assert _delivered(tmp_path, now_ms) == ["post", "sent"]
    assert _delivered(tmp_path, now_ms) == []


def test_the_post_and_its_outcome_are_hops_of_the_action_s_trace(
    tmp_path: Path, now_ms: int
) -> None:
    hops: list[str] = []
    assert _delivered(tmp_path, now_ms, hops) == ["post", "sent"]
    assert [traces.going_on(hop) for hop in hops] == [_TRACE, _TRACE]
    assert len(set(hops)) == len(hops)


def test_nobody_tried_it_in_time(tmp_path: Path, now_ms: int) -> None:
    assert _delivered(tmp_path, now_ms - 60_000) == ["expired"]


def test_a_killed_adapter_tried_it_and_there_is_time(tmp_path: Path, now_ms: int) -> None:
    assert _delivered(_left(tmp_path, Entry()), now_ms) == ["post", "sent"]


def test_a_killed_adapter_tried_it_and_it_is_too_late(tmp_path: Path, now_ms: int) -> None:
    assert _delivered(_left(tmp_path, Entry()), now_ms - 60_000) == ["sent"]


def test_a_killed_adapter_delivered_it_and_had_not_reported(tmp_path: Path, now_ms: int) -> None:
    report = Entry(b'{"token":"token","outcome":"sent","timestamp":1}')
    assert _delivered(_left(tmp_path, report), now_ms) == ["sent"]
