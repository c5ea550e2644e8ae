"""Web push against a local push service, whose browser decrypts what arrives."""

import asyncio
import json
import time
from base64 import urlsafe_b64decode
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from msgspec.structs import replace
from py_vapid import Vapid02

from pipeline.adapters import traces
from pipeline.config.compiled import CompiledChannel
from pipeline.config.model import PUSH_SERVICES, Push
from pipeline.delivery.channel_adapter import (
    AdapterHost,
    Bounced,
    Delivered,
    DeliveryResult,
    OutOfTime,
    Parcel,
)
from pipeline.delivery.push.adapter import PushAdapter
from pipeline.delivery.push.message import SubscriptionProblem, read_subscription
from pipeline.delivery.push.trial import LocalBrowser, new_key, send_trial
from pipeline.delivery.reporter import OutcomeReport, RejectedOutcome
from pipeline.model.decision import Action
from pipeline.model.interaction import Identifier
from tests.support.attempts import RecordedAttempt

ANA = Identifier("customer_id", "ana")
PUSH = Push(key="${TEST_VAPID}", contact="mailto:ops@shop.example", services=("127.0.0.1",))


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    made = new_key()
    monkeypatch.setenv("TEST_VAPID", made)
    return made


def b64urldecode(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _action(address: str, **changes: Any) -> Action:
    now_ms = time.time_ns() // 1_000_000
    action = Action(
        action_id="a-1",
        decision_id="d",
        event_id="e",
        profile_id="p",
        identifier=ANA,
        purpose="marketing",
        campaign="c",
        offer="o",
        treatment="t",
        channel="push",
        placement=None,
        address=address,
        content={"title": "¡Hola!", "text": "Ñandú", "url": "https://shop.example/x"},
        created_at=now_ms,
        deadline_at=now_ms + 20_000,
        token="token",
    )
    return replace(action, **changes)


class _BrokenService(LocalBrowser):
    """Push service that at first answers no HTTP, then cuts the connection, then is slow."""

    async def receive(self, request: web.Request) -> web.Response:
        self.received.append((dict(request.headers), await request.read()))
        assert request.transport is not None
        match len(self.received):
            case 1:
                request.transport.write(b"\x00 nonsense\r\n\r\n")
                request.transport.close()
            case 2:
                request.transport.abort()
            case 3:
                await asyncio.sleep(0.3)
                return web.Response(status=500, text="<html>" + "x" * 100_000)
        return web.Response(status=201)


def _send(
    browser: LocalBrowser,
    unlinked: list[tuple[Identifier, Identifier]] | None = None,
    **changes: Any,
) -> DeliveryResult:
    channel = CompiledChannel("push", "push", None, None, (), push=PUSH)
    removed = [] if unlinked is None else unlinked

    async def report(_: OutcomeReport) -> RejectedOutcome | None:
        return None

    async def unlink(identifier: Identifier, other: Identifier) -> None:
        removed.append((identifier, other))

    async def run() -> DeliveryResult:
        app = web.Application()
        app.router.add_post("/push", browser.receive)
        async with TestServer(app, host="127.0.0.1") as server, ClientSession() as client:
            host = AdapterHost(
                lambda _: channel, lambda: (channel,), lambda _: None, report, "s", unlink
            )
            address = browser.subscription(str(server.make_url("/push")))
            action = _action(**{"address": address, **changes})
            parcel = Parcel(action, action.created_at, traces.new_trace())
            return await PushAdapter(client, host).deliver(parcel, RecordedAttempt())

    return asyncio.run(run())


def test_browser_decrypts_the_message_and_the_key_signs_it(key: str) -> None:
    browser = LocalBrowser()
    assert _send(browser) == Delivered()
    [(headers, body)] = browser.received
    assert json.loads(browser.read(body)) == {
        "title": "¡Hola!",
        "body": "Ñandú",
        "url": "https://shop.example/x",
        "tag": "a-1",
        "token": "token",
    }
    assert headers["Content-Encoding"] == "aes128gcm"
    assert 0 < int(headers["TTL"]) <= 20
    scheme, _, rest = headers["Authorization"].partition(" ")
    token, public = (part.partition("=")[2] for part in rest.split(","))
    assert scheme == "vapid"
    known = Vapid02.from_string(key).public_key.public_numbers()
    assert b64urldecode(public) == b"\x04" + known.x.to_bytes(32) + known.y.to_bytes(32)
    signed, _, signature = token.rpartition(".")
    raw = b64urldecode(signature)
    r, s = int.from_bytes(raw[:32]), int.from_bytes(raw[32:])
    Vapid02.from_string(key).public_key.verify(
        encode_dss_signature(r, s), signed.encode(), ec.ECDSA(hashes.SHA256())
    )
    claims = msgspec.json.decode(b64urldecode(token.split(".")[1]))
    assert claims["aud"].startswith("http://127.0.0.1:")
    assert claims["sub"] == "mailto:ops@shop.example"
    assert time.time() < claims["exp"] <= time.time() + 24 * 3_600


def test_busy_service_gets_a_repeat_that_replaces_the_first() -> None:
    browser = LocalBrowser()
    browser.answers = [429, 503]
    assert _send(browser) == Delivered()
    topics = {headers["Topic"] for headers, _ in browser.received}
    assert (len(browser.received), len(topics)) == (3, 1)
    assert len(topics.pop()) <= 32


def test_service_that_answers_nonsense_or_nothing_gets_repeats_that_replace() -> None:
    browser = _BrokenService()
    assert _send(browser) == Delivered()
    assert len(browser.received) == 4
    assert len({headers["Topic"] for headers, _ in browser.received}) == 1
    assert {json.loads(browser.read(body))["tag"] for _, body in browser.received} == {"a-1"}


@pytest.mark.parametrize("status", [404, 410])
def test_expired_subscription_bounces_and_is_removed(status: int) -> None:
    browser = LocalBrowser()
    browser.answers = [status]
    unlinked: list[tuple[Identifier, Identifier]] = []
    assert _send(browser, unlinked) == Bounced(status, {"bounce": "address"})
    [(expired, owner)] = unlinked
    assert (expired.namespace, owner) == ("push", ANA)
    assert json.loads(expired.value)["keys"]["auth"]


def test_service_that_stays_away_expires_the_message() -> None:
    browser = LocalBrowser()
    browser.answers = [503] * 50
    now = time.time_ns() // 1_000_000
    assert isinstance(_send(browser, created_at=now, deadline_at=now + 600), OutOfTime)


def test_message_that_is_too_long_is_refused_unsent() -> None:
    browser = LocalBrowser()
    result = _send(browser, content={"title": "x" * 4_000})
    assert isinstance(result, Bounced)
    assert result.details["bounce"] == "refused"
    assert browser.received == []


@pytest.mark.parametrize(
    "address",
    [
        "",
        "{}",
        '{"endpoint": "https://fcm.googleapis.com/x"}',
        '{"endpoint": "http://fcm.googleapis.com/x", "keys": {"p256dh": "a", "auth": "b"}}',
        '{"endpoint": "https://intranet.example/x", "keys": {"p256dh": "a", "auth": "b"}}',
        '{"endpoint": "https://fcm.googleapis.com.x.example/", "keys": {"p256dh": "", "auth": ""}}',
        '{"endpoint": "https://[::1", "keys": {"p256dh": "a", "auth": "b"}}',
    ],
)
def test_subscription_that_leads_elsewhere_gets_nothing(address: str) -> None:
    assert isinstance(read_subscription(address, PUSH_SERVICES), SubscriptionProblem)
    browser = LocalBrowser()
    assert isinstance(_send(browser, address=address), Bounced)
    assert browser.received == []


def test_subscription_with_unusable_keys_bounces() -> None:
    browser = LocalBrowser()
    address = '{"endpoint": "http://127.0.0.1:9/x", "keys": {"p256dh": "YQ", "auth": "YQ"}}'
    assert isinstance(_send(browser, address=address), Bounced)


def test_trial_shows_the_decrypted_message() -> None:
    shown = asyncio.run(send_trial("Ana", None, "s"))
    assert "Hello, Ana." in shown
