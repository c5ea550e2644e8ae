"""Web push against a local push service, and a browser that decrypts the messages."""

import asyncio
import json
import time
from base64 import urlsafe_b64decode
from pathlib import Path
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
from pipeline.adapters.clock import now_ms
from pipeline.adapters.run_state import announce
from pipeline.config.compiled import CompiledChannel
from pipeline.config.model import PUSH_SERVICES, Push
from pipeline.delivery.channel_adapter import (
    Acceptance,
    AdapterHost,
    Bounce,
    DeliveryResult,
    MissedDeadline,
    Parcel,
)
from pipeline.delivery.push.adapter import PushAdapter
from pipeline.delivery.push.message import PushProblem, read_subscription
from pipeline.delivery.push.trial import LocalBrowser, new_key, send_trial
from pipeline.delivery.reporter import OutcomeReport, RejectedOutcome
from pipeline.home.channel_faults import ChannelFaults, find_channel_faults
from pipeline.model.decision import Action
from pipeline.model.interaction import Identifier
from pipeline.settings import Settings
from pipeline.stack.doctor import examine
from tests.support.attempts import RecordedAttempt

ANA = Identifier("customer_id", "ana")
PUSH = Push(key="${TEST_VAPID}", contact="mailto:ops@shop.example", services=("127.0.0.1",))


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    key = new_key()
    monkeypatch.setenv("TEST_VAPID", key)
    return key


def b64urldecode(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _action(address: str, life_ms: int = 20_000, **changes: Any) -> Action:
    created_at = now_ms()
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
        created_at=created_at,
        deadline_at=created_at + life_ms,
        token="token",
    )
    return replace(action, **changes)


class _BrokenService(LocalBrowser):
    """Push service that at first answers no HTTP, then cuts the connection, then is slow."""

    async def receive(self, request: web.Request) -> web.Response:
        self.messages.append((dict(request.headers), await request.read()))
        assert request.transport is not None
        match len(self.messages):
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
    removals: list[tuple[Identifier, Identifier]] | None = None,
    **changes: Any,
) -> DeliveryResult:
    """Deliver one action, whose deadline is in 20 s unless the changes state another."""
    return _send_all(browser, ChannelFaults(), [] if removals is None else removals, changes)[0]


def _send_all(
    browser: LocalBrowser,
    faults: ChannelFaults,
    removals: list[tuple[Identifier, Identifier]],
    *action_changes: dict[str, Any],
) -> list[DeliveryResult]:
    """Deliver actions one after the other by one adapter."""
    channel = CompiledChannel("push", "push", None, None, (), push=PUSH)

    async def report(_: OutcomeReport) -> RejectedOutcome | None:
        return None

    async def unlink(identifier: Identifier, other_identifier: Identifier) -> None:
        removals.append((identifier, other_identifier))

    async def run() -> list[DeliveryResult]:
        app = web.Application()
        app.router.add_post("/push", browser.receive)
        async with TestServer(app, host="127.0.0.1") as server, ClientSession() as client:
            host = AdapterHost(
                lambda _: channel, lambda: (channel,), lambda _: None, report, "s", unlink, faults
            )
            address = browser.subscription(str(server.make_url("/push")))
            adapter = PushAdapter(client, host)
            results = []
            for changes in action_changes:
                action = _action(**{"address": address, **changes})
                parcel = Parcel(action, action.created_at, traces.new_trace())
                results.append(await adapter.deliver(parcel, RecordedAttempt()))
            return results

    return asyncio.run(run())


def test_browser_decrypts_the_message_and_the_key_signs_it(key: str) -> None:
    browser = LocalBrowser()
    assert _send(browser) == Acceptance()
    [(headers, body)] = browser.messages
    assert json.loads(browser.read(body)) == {
        "title": "¡Hola!",
        "body": "Ñandú",
        "url": "https://shop.example/x",
        "tag": "a-1",
        "token": "token",
    }
    assert headers["Content-Encoding"] == "aes128gcm"
    assert 0 < int(headers["TTL"]) <= 20
    scheme, _, parameters = headers["Authorization"].partition(" ")
    token, public_text = (part.partition("=")[2] for part in parameters.split(","))
    assert scheme == "vapid"
    public_key = Vapid02.from_string(key).public_key.public_numbers()
    assert b64urldecode(public_text) == b"\x04" + public_key.x.to_bytes(32) + public_key.y.to_bytes(
        32
    )
    signed_part, _, signature = token.rpartition(".")
    raw = b64urldecode(signature)
    r, s = int.from_bytes(raw[:32]), int.from_bytes(raw[32:])
    Vapid02.from_string(key).public_key.verify(
        encode_dss_signature(r, s), signed_part.encode(), ec.ECDSA(hashes.SHA256())
    )
    claims = msgspec.json.decode(b64urldecode(token.split(".")[1]))
    assert claims["aud"].startswith("http://127.0.0.1:")
    assert claims["sub"] == "mailto:ops@shop.example"
    assert time.time() < claims["exp"] <= time.time() + 24 * 3_600


def test_busy_service_gets_a_repeat_that_replaces_the_first() -> None:
    browser = LocalBrowser()
    browser.answers = [429, 503]
    assert _send(browser) == Acceptance()
    topics = {headers["Topic"] for headers, _ in browser.messages}
    assert (len(browser.messages), len(topics)) == (3, 1)
    assert len(topics.pop()) <= 32


def test_service_that_answers_nonsense_or_nothing_gets_repeats_that_replace_the_first() -> None:
    browser = _BrokenService()
    assert _send(browser) == Acceptance()
    assert len(browser.messages) == 4
    assert len({headers["Topic"] for headers, _ in browser.messages}) == 1
    assert {json.loads(browser.read(body))["tag"] for _, body in browser.messages} == {"a-1"}


@pytest.mark.parametrize("status", [404, 410])
def test_expired_subscription_bounces_and_is_removed(status: int) -> None:
    browser = LocalBrowser()
    browser.answers = [status]
    removals: list[tuple[Identifier, Identifier]] = []
    assert _send(browser, removals) == Bounce(status, {"bounce": "address"})
    [(expired_identifier, owner)] = removals
    assert (expired_identifier.namespace, owner) == ("push", ANA)
    assert json.loads(expired_identifier.value)["keys"]["auth"]


_SHORT_LIFE_MS = 1_000
_MISMATCHES = [
    (400, '{"reason":"VapidPkHashMismatch"}'),
    (401, '{"code":401,"errno":109,"error":"Unauthorized","message":"VAPID public key mismatch"}'),
    (
        403,
        "the VAPID credentials in the header do not correspond to the credentials used to create\n",
    ),
]
_DENIALS = [
    *_MISMATCHES,
    (403, '{"reason":"BadJwtToken"}'),
    (400, "UnauthorizedRegistration"),
    (401, '{"code":401,"errno":109,"message":"Request did not validate Invalid bearer token"}'),
    (403, ""),
]


@pytest.mark.parametrize(("status", "reason"), _DENIALS)
def test_refused_key_holds_messages_back_and_bounces_nobody(
    status: int, reason: str, tmp_path: Path
) -> None:
    browser = LocalBrowser()
    browser.answers = [(status, reason)] * 50
    announce(tmp_path, "adapter-push", "starting")
    faults = ChannelFaults.of_process(tmp_path, "adapter-push")
    removals: list[tuple[Identifier, Identifier]] = []
    [result] = _send_all(browser, faults, removals, {"life_ms": _SHORT_LIFE_MS})
    assert isinstance(result, MissedDeadline)
    assert removals == []
    [fault] = find_channel_faults(tmp_path)
    assert (fault.channel, fault.part) == ("push", "127.0.0.1")
    assert f"127.0.0.1 refuses the VAPID key, or `push.contact`: status {status}" in fault.why
    [finding] = [
        finding for finding in examine(Settings(home=tmp_path)) if finding.subject == "channel push"
    ]
    assert finding.grade == "bad"
    assert "has held back its messages since " in finding.text


def test_key_that_is_accepted_at_last_sends_the_message_and_ends_the_fault(tmp_path: Path) -> None:
    browser = LocalBrowser()
    browser.answers = [(403, '{"reason":"BadJwtToken"}')]
    announce(tmp_path, "adapter-push", "starting")
    faults = ChannelFaults.of_process(tmp_path, "adapter-push")
    assert _send_all(browser, faults, [], {}) == [Acceptance()]
    assert find_channel_faults(tmp_path) == ()


def test_variable_without_a_key_is_a_fault_of_the_channel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_VAPID", "no key")
    announce(tmp_path, "adapter-push", "starting")
    faults = ChannelFaults.of_process(tmp_path, "adapter-push")
    [result] = _send_all(LocalBrowser(), faults, [], {"life_ms": _SHORT_LIFE_MS})
    assert isinstance(result, MissedDeadline)
    [fault] = find_channel_faults(tmp_path)
    assert fault.why == "the variable in `push.key` holds no VAPID private key"
    faults.close()
    assert find_channel_faults(tmp_path) == ()


@pytest.mark.parametrize(("status", "reason"), _MISMATCHES)
def test_subscription_of_another_key_is_lost_where_this_key_was_accepted(
    status: int, reason: str, tmp_path: Path
) -> None:
    browser = LocalBrowser()
    browser.answers = [201, (status, reason)]
    announce(tmp_path, "adapter-push", "starting")
    faults = ChannelFaults.of_process(tmp_path, "adapter-push")
    removals: list[tuple[Identifier, Identifier]] = []
    first_result, second_result = _send_all(browser, faults, removals, {}, {"action_id": "a-2"})
    bounce = {"bounce": "address", "reason": "it was made with another VAPID key"}
    assert (first_result, second_result) == (Acceptance(), Bounce(status, bounce))
    [(lost_identifier, owner)] = removals
    assert (lost_identifier.namespace, owner) == ("push", ANA)
    assert find_channel_faults(tmp_path) == ()


def test_refusal_for_another_reason_keeps_the_subscription_though_the_key_was_accepted() -> None:
    browser = LocalBrowser()
    browser.answers = [201, *[(403, "Forbidden")] * 50]
    removals: list[tuple[Identifier, Identifier]] = []
    results = _send_all(
        browser, ChannelFaults(), removals, {}, {"action_id": "a-2", "life_ms": _SHORT_LIFE_MS}
    )
    assert isinstance(results[1], MissedDeadline)
    assert removals == []


@pytest.mark.parametrize("status", [301, 400, 413])
def test_message_that_the_service_refuses_bounces_and_keeps_the_subscription(status: int) -> None:
    browser = LocalBrowser()
    browser.answers = [(status, "no")]
    removals: list[tuple[Identifier, Identifier]] = []
    assert _send(browser, removals) == Bounce(status, {"bounce": "refused"})
    assert removals == []


def test_service_that_stays_away_expires_the_message() -> None:
    browser = LocalBrowser()
    browser.answers = [503] * 50
    created_at = now_ms()
    assert isinstance(
        _send(browser, created_at=created_at, deadline_at=created_at + 600), MissedDeadline
    )


def test_message_that_is_too_long_is_refused_unsent() -> None:
    browser = LocalBrowser()
    result = _send(browser, content={"title": "x" * 4_000})
    assert isinstance(result, Bounce)
    assert result.details["bounce"] == "refused"
    assert browser.messages == []


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
    assert isinstance(read_subscription(address, PUSH_SERVICES), PushProblem)
    browser = LocalBrowser()
    assert isinstance(_send(browser, address=address), Bounce)
    assert browser.messages == []


def test_subscription_with_unusable_keys_bounces_as_an_unusable_address() -> None:
    browser = LocalBrowser()
    address = '{"endpoint": "http://127.0.0.1:9/x", "keys": {"p256dh": "YQ", "auth": "YQ"}}'
    result = _send(browser, address=address)
    assert isinstance(result, Bounce)
    assert result.details["bounce"] == "address"


def test_trial_shows_the_decrypted_message() -> None:
    result = asyncio.run(send_trial("Ana", None, "s"))
    assert "Hello, Ana." in result
