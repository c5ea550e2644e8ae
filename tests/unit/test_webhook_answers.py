"""Bounded cost of receivers' answers, and retries at an endpoint that is corrected."""

import asyncio
import time
import tracemalloc
from collections.abc import Awaitable, Callable

import msgspec
import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from pipeline.adapters import traces
from pipeline.delivery.channel_adapter import Acceptance, DeliveryResult, MissedDeadline, Parcel
from pipeline.delivery.webhook import Endpoint, EndpointProblem, WebhookAdapter, signature
from pipeline.delivery.webhook_trial import send_trial
from tests.unit.test_courier import _ACTION

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


_DELIVERY_MS = _ACTION.deadline_at - _ACTION.created_at
_MAX_ANSWER_S = 30.0
"""Time that suffices on a busy machine, and is well within the deadline of a delivery."""


class _AttemptWithoutRecord:
    """Attempt that is not recorded."""

    def begin(self) -> None: ...

    def record_failure(self) -> None: ...


def post_to(
    handler: Handler, find: Callable[[str], Endpoint | EndpointProblem], deadline_s: float = 60.0
) -> DeliveryResult:
    async def run() -> DeliveryResult:
        app = web.Application()
        app.router.add_post("/hook", handler)
        async with TestServer(app) as server, ClientSession(auto_decompress=False) as client:
            url = str(server.make_url("/hook"))
            since_ms = round((time.time() + deadline_s) * 1000) - _DELIVERY_MS
            parcel = Parcel(_ACTION, since_ms, traces.new_trace())
            adapter = WebhookAdapter(client, lambda _: find(url))
            return await adapter.deliver(parcel, _AttemptWithoutRecord())

    return asyncio.run(run())


def _endpoint(url: str) -> Endpoint:
    return Endpoint(url, None)


async def _accept(_: web.Request) -> web.Response:
    return web.Response(status=200)


def test_huge_answer_is_cut_off_and_counts_by_its_status() -> None:
    async def send_huge_answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            for _ in range(800):
                await response.write(b"x" * (1 << 20))
        except ConnectionError:
            pass
        return response

    tracemalloc.start()
    start_s = time.monotonic()
    assert post_to(send_huge_answer, _endpoint) == Acceptance()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50 << 20
    assert time.monotonic() - start_s < _MAX_ANSWER_S


def test_answer_that_never_ends_counts_by_its_status() -> None:
    async def send_endless_answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b".")
                await asyncio.sleep(0.05)
        except ConnectionError:
            return response

    start_s = time.monotonic()
    assert post_to(send_endless_answer, _endpoint) == Acceptance()
    assert time.monotonic() - start_s < _MAX_ANSWER_S


@pytest.mark.parametrize(
    "broken_endpoint",
    [EndpointProblem("channel email: a port is a number"), Endpoint("http://127.0.0.1:1/x", None)],
)
def test_action_is_delivered_once_its_endpoint_is_corrected(
    broken_endpoint: Endpoint | EndpointProblem,
) -> None:
    start_s = time.monotonic()

    def find(url: str) -> Endpoint | EndpointProblem:
        return broken_endpoint if time.monotonic() - start_s < 1.0 else _endpoint(url)

    assert post_to(_accept, find) == Acceptance()
    assert time.monotonic() - start_s < _MAX_ANSWER_S


def test_endpoint_not_corrected_in_time_was_never_posted_to() -> None:
    result = post_to(_accept, lambda _: EndpointProblem("no host"), deadline_s=1.0)
    assert result == MissedDeadline("no host", unsure=False)


def test_outcome_of_a_broken_answer_has_no_part_of_the_url() -> None:
    async def send_nonsense(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.write(b"HTTP/1.1 two hundred\r\n\r\n")
        request.transport.close()
        return web.Response()

    result = post_to(
        send_nonsense, lambda url: Endpoint(f"{url}?token=hunter2", None), deadline_s=1.0
    )
    assert isinstance(result, MissedDeadline)
    assert result.unsure
    assert result.failure.startswith("ClientResponseError: ")
    assert "hunter2" not in result.failure


def test_trial_shows_the_signed_request() -> None:
    lines = asyncio.run(send_trial("ana@example.com", None, "a secret")).splitlines()
    assert lines[0] == "accepted"
    action = msgspec.json.decode(lines[-1])
    assert (action["address"], action["content"]["text"][:11]) == ("ana@example.com", "This action")
    headers = dict(line.split(": ", 1) for line in lines[1:-1])
    assert headers["Idempotency-Key"] == action["action_id"]
    timestamp = headers["Kairos-Signature"].partition(",")[0].removeprefix("t=")
    assert headers["Kairos-Signature"] == signature("a secret", int(timestamp), lines[-1].encode())
