"""Text messages against a real HTTP server, with the shipped providers' files."""

import asyncio
import hmac
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import msgspec
import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline.adapters import traces
from pipeline.adapters.clock import now_ms
from pipeline.adapters.signed_links import CallbackLink, MessageLinks
from pipeline.config import model
from pipeline.config.compile import Configuration, compile_bundle
from pipeline.config.compiled import CompiledChannel
from pipeline.config.model.providers import Provider
from pipeline.delivery.channel_adapter import (
    Acceptance,
    AdapterHost,
    Bounce,
    DeliveryResult,
    MissedDeadline,
    Parcel,
    UnconfirmedAttempt,
)
from pipeline.delivery.courier import Courier
from pipeline.delivery.ledger import Ledger
from pipeline.delivery.reporter import OutcomeReport, RejectedOutcome
from pipeline.delivery.sms.adapter import SmsAdapter
from pipeline.delivery.sms.segments import count_segments
from pipeline.delivery.sms.trial import send_trial
from pipeline.model.decision import Action
from pipeline.model.interaction import Identifier
from pipeline.rules.token import Claims
from tests.support.attempts import RecordedAttempt
from tests.support.doorway import NAMESPACES, Doorway, doorway
from tests.support.providers import shipped_provider


async def ignore_unlink(_: Identifier, __: Identifier) -> None:
    return None


SECRET = "test" * 8
PHONE = "+34600111222"
LINKS_URL = "https://shop.example"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture(autouse=True)
def set_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TWILIO_ACCOUNT", "TWILIO_TOKEN", "SINCH_PLAN", "SINCH_TOKEN", "SINCH_SECRET"):
        monkeypatch.setenv(name, name.lower())
    monkeypatch.setenv("TWILIO_FROM", "+34900000000")
    monkeypatch.setenv("SINCH_FROM", "34900000000")
    monkeypatch.setenv("KAIROS_LINKS", LINKS_URL)


def _action(**changes: Any) -> Action:
    created_at = now_ms()
    action = Action(
        action_id="a-1",
        decision_id="d",
        event_id="e",
        profile_id="p",
        identifier=Identifier("customer_id", "ana"),
        purpose="marketing",
        campaign="spring",
        offer="shoes",
        treatment="shoes-sms",
        channel="sms",
        placement=None,
        address=PHONE,
        content={"text": 'Hola {to} ${TWILIO_TOKEN} ñ & "x"'},
        created_at=created_at,
        deadline_at=created_at + 20_000,
        token="token",
    )
    return replace(action, **changes)


def _provider_at(provider: Provider, url: str) -> Provider:
    return replace(provider, request=replace(provider.request, url=url))


class _Gateway:
    """Gateway that accepts every outcome."""

    def __init__(self) -> None:
        self.reports: list[OutcomeReport] = []

    async def report(self, outcome: bytes) -> RejectedOutcome | None:
        self.reports.append(msgspec.json.decode(outcome, type=OutcomeReport))
        return None


@dataclass(frozen=True)
class _Instance:
    """Process of an adapter: the folder of its ledger, and the gateway that it reports to."""

    folder: Path
    gateway: _Gateway


def _deliver(
    handler: Handler,
    provider: Provider,
    action: Action | None = None,
    instance: _Instance | None = None,
) -> DeliveryResult | None:
    async def report(_: OutcomeReport) -> RejectedOutcome | None:
        return None

    async def run() -> DeliveryResult | None:
        app = web.Application()

        async def send(request: web.Request) -> web.StreamResponse:
            return await handler(request)

        app.router.add_post("/send", send)
        async with TestServer(app) as server, ClientSession() as client:
            local_provider = _provider_at(provider, str(server.make_url("/send")))
            channel = CompiledChannel("sms", "sms", None, None, (), provider=local_provider)
            host = AdapterHost(
                lambda _: channel, lambda: (channel,), lambda _: None, report, SECRET, ignore_unlink
            )
            adapter, sent_action = SmsAdapter(client, host), action or _action()
            parcel = Parcel(sent_action, sent_action.created_at, traces.new_trace())
            if instance is None:
                return await adapter.deliver(parcel, RecordedAttempt())
            ledger = Ledger(instance.folder)
            try:
                await Courier(adapter, ledger, instance.gateway).deliver(parcel)  # type: ignore[arg-type]
            finally:
                ledger.close()
            return None

    return asyncio.run(run())


class _AnswerQueue:
    """Queue of answers: a status and a body, or None to cut the connection; the last one stays."""

    def __init__(self, *answers: tuple[int, Any] | None) -> None:
        self.answers = list(answers)
        self.posts: list[tuple[dict[str, str], str]] = []

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.posts.append((dict(request.headers), await request.text()))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        status, body = answer
        text = body if isinstance(body, str) else msgspec.json.encode(body).decode()
        return web.Response(status=status, text=text, content_type="application/json")


def test_form_has_the_providers_fields_and_the_unchanged_text() -> None:
    answers = _AnswerQueue((201, {"sid": "SM1"}))
    result = _deliver(answers, shipped_provider("twilio"))
    assert result == Acceptance({"segments": 1, "provider_id": "SM1"})
    [(headers, body)] = answers.posts
    form = {name: value for name, [value] in parse_qs(body).items()}
    callback = form.pop("StatusCallback")
    assert form == {"To": PHONE, "From": "+34900000000", "Body": _action().content["text"]}
    login = b64decode(headers["Authorization"].removeprefix("Basic "))
    assert login == b"twilio_account:twilio_token"
    assert callback.startswith(f"{LINKS_URL}/v1/providers/twilio?")
    [signed_url_token] = parse_qs(urlsplit(callback).query)["t"]
    assert MessageLinks(SECRET).callbacks.verify(signed_url_token) == CallbackLink("token")


def test_json_has_the_providers_fields_and_the_unchanged_text() -> None:
    answers = _AnswerQueue((201, {"id": "01F"}))
    result = _deliver(answers, shipped_provider("sinch"))
    assert result == Acceptance({"segments": 1, "provider_id": "01F"})
    [(headers, body)] = answers.posts
    message = msgspec.json.decode(body)
    assert (message["to"], message["body"]) == ([PHONE], _action().content["text"])
    assert message["client_reference"] == "a-1"
    assert headers["Authorization"] == "Bearer sinch_token"


@pytest.mark.parametrize(
    ("answers", "result", "post_count"),
    [
        ([(400, {"code": 21211})], Bounce(400, {"bounce": "address", "error": "21211"}), 1),
        ([(400, {"code": 21610})], Bounce(400, {"bounce": "refused", "error": "21610"}), 1),
        ([(403, "nonsense")], Bounce(403, {"bounce": "refused"}), 1),
        ([(429, {}), (201, {"sid": "x"})], Acceptance({"segments": 1, "provider_id": "x"}), 2),
        ([(401, {}), (201, {"sid": "x"})], Acceptance({"segments": 1, "provider_id": "x"}), 2),
        ([(503, {}), (201, {"sid": "x"})], Acceptance({"segments": 1, "provider_id": "x"}), 2),
        ([(400, {"code": 20429}), (201, "?")], Acceptance({"segments": 1}), 2),
        ([(200, "<html>")], Acceptance({"segments": 1}), 1),
        ([(500, {})], UnconfirmedAttempt("status 500"), 1),
        ([None], UnconfirmedAttempt("ServerDisconnectedError"), 1),
    ],
)
def test_answer_of_the_provider_decides_the_result(
    answers: list[tuple[int, Any] | None], result: DeliveryResult, post_count: int
) -> None:
    server = _AnswerQueue(*answers)
    assert _deliver(server, shipped_provider("twilio")) == result
    assert len(server.posts) == post_count


def test_provider_that_recognises_repeats_gets_them_with_the_same_key() -> None:
    provider = shipped_provider("sinch")
    request = replace(provider.request, idempotency_header="Idempotency-Key")
    server = _AnswerQueue(None, (500, {}), (201, {"id": "x"}))
    result = _deliver(server, replace(provider, request=request))
    assert isinstance(result, Acceptance)
    assert [headers["Idempotency-Key"] for headers, _ in server.posts] == ["a-1"] * 3


def test_message_that_may_have_been_taken_by_an_earlier_try_is_unsure() -> None:
    provider = shipped_provider("sinch")
    request = replace(provider.request, idempotency_header="Idempotency-Key")
    created_at = now_ms()
    action = _action(created_at=created_at, deadline_at=created_at + 3_000)
    server = _AnswerQueue(None, (503, {}))
    result = _deliver(server, replace(provider, request=request), action)
    assert result == MissedDeadline("status 503", unsure=True)
    assert len(server.posts) >= 2


def test_message_of_unknown_fate_is_not_sent_again_by_a_later_process(tmp_path: Path) -> None:
    server, gateway, action = _AnswerQueue(None), _Gateway(), _action()
    for _ in range(2):
        _deliver(
            server, shipped_provider("twilio"), action, _Instance(tmp_path / "ledger", gateway)
        )
    assert len(server.posts) == 1
    [report] = gateway.reports
    assert (report.outcome, "unconfirmed" in report.properties) == ("sent", True)


def test_provider_that_stays_away_expires_the_message() -> None:
    created_at = now_ms()
    action = _action(created_at=created_at, deadline_at=created_at + 600)
    assert isinstance(
        _deliver(_AnswerQueue((503, {})), shipped_provider("twilio"), action), MissedDeadline
    )


@pytest.mark.parametrize("address", ["", "600111222", "ana@example.com", "+34600111222;ext=1"])
def test_address_that_is_no_number_bounces_unsent(address: str) -> None:
    server = _AnswerQueue((201, {}))
    result = _deliver(server, shipped_provider("twilio"), _action(address=address))
    assert result == Bounce(0, {"bounce": "address"})
    assert server.posts == []


def test_variable_that_is_not_set_holds_messages_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TWILIO_FROM")
    created_at = now_ms()
    server = _AnswerQueue((201, {}))
    result = _deliver(
        server,
        shipped_provider("twilio"),
        _action(created_at=created_at, deadline_at=created_at + 300),
    )
    assert isinstance(result, MissedDeadline)
    assert server.posts == []


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 1),
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("a" * 152 + "€" + "a" * 10, 2),
        ("a" * 152 + "€" * 77, 3),
        ("ñ" * 160, 1),
        ("á" * 70, 1),
        ("á" * 71, 2),
        ("😀" * 35, 1),
        ("😀" * 36, 2),
        ("😀" * 67, 3),
    ],
)
def test_segments_are_those_that_are_charged(text: str, count: int) -> None:
    assert count_segments(text) == count


@given(st.text(max_size=400), st.text(max_size=50))
def test_longer_text_has_no_fewer_segments(text: str, addition: str) -> None:
    assert count_segments(text) <= count_segments(text + addition)


@pytest.fixture
def door(tmp_path: Path) -> Doorway:
    providers = (shipped_provider("twilio"), shipped_provider("sinch"))
    bundle = model.Bundle(
        sources=model.Sources((model.Source("shop", "web", "shop-key-1"),)),
        identity=model.Identity(NAMESPACES, phone_region="ES"),
        channels=model.Channels(
            (
                model.Channel("sms", adapter="sms", provider="twilio"),
                model.Channel("text", adapter="sms", provider="sinch"),
            )
        ),
        providers=providers,
    )
    configuration = compile_bundle(bundle)
    assert isinstance(configuration, Configuration), configuration
    return doorway(configuration, tmp_path)


def _link(door: Doorway) -> str:
    claims = Claims("a-1", "d-1", Identifier("customer_id", "ana"), "sms", "c", "o", "t", 1)
    return MessageLinks(SECRET).callbacks.sign(CallbackLink(door.tokens.sign(claims)))


def _post(door: Doorway, path: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
    return door.request("POST", path, content=body, headers=headers)


def _post_as_twilio(
    door: Doorway, fields: dict[str, str], key: bytes = b"twilio_token", has_link: bool = True
) -> httpx.Response:
    """Post with Twilio's signature: over the URL and each field, sorted by name."""
    query = f"?{urlencode({'t': _link(door)})}" if has_link else ""
    path = f"/v1/providers/twilio{query}"
    signed_text = LINKS_URL + path
    for name in sorted(fields):
        signed_text += name + fields[name]
    signature = b64encode(hmac.digest(key, signed_text.encode(), "sha1")).decode()
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "X-Twilio-Signature": signature,
    }
    return _post(door, path, urlencode(fields).encode(), headers)


def _post_as_sinch(
    door: Doorway, fields: dict[str, Any], key: bytes = b"sinch_secret"
) -> httpx.Response:
    body = msgspec.json.encode(fields)
    signature = b64encode(hmac.digest(key, body + b".nonce.17", "sha256")).decode()
    headers = {
        "Content-Type": "application/json",
        "x-sinch-webhook-signature": signature,
        "x-sinch-webhook-signature-nonce": "nonce",
        "x-sinch-webhook-signature-timestamp": "17",
    }
    return _post(door, f"/v1/providers/sinch?{urlencode({'t': _link(door)})}", body, headers)


def test_repeated_status_becomes_one_outcome(door: Doorway) -> None:
    for _ in range(3):
        assert (
            _post_as_twilio(door, {"MessageSid": "S", "MessageStatus": "delivered"}).status_code
            == 204
        )
    interactions = door.interactions()
    assert {
        (interaction.kind, interaction.name, interaction.channel) for interaction in interactions
    } == {("outcome", "delivered", "sms")}
    assert len({interaction.event_id for interaction in interactions}) == 1


def test_field_that_comes_twice_is_signed_once(door: Doorway) -> None:
    path = f"/v1/providers/twilio?{urlencode({'t': _link(door)})}"
    signed_text = f"{LINKS_URL}{path}MediaUrlaMediaUrlbMessageStatusdelivered"
    signature = b64encode(hmac.digest(b"twilio_token", signed_text.encode(), "sha1")).decode()
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "X-Twilio-Signature": signature,
    }
    body = b"MediaUrl=b&MessageStatus=delivered&MediaUrl=a&MediaUrl=b"
    assert _post(door, path, body, headers).status_code == 204


def test_failure_is_a_bounce_of_its_kind(door: Doorway) -> None:
    _post_as_twilio(door, {"MessageStatus": "undelivered", "ErrorCode": "30005"})
    _post_as_sinch(door, {"status": "Failed", "code": 402})
    bounces = [
        (interaction.name, interaction.properties["bounce"]) for interaction in door.interactions()
    ]
    assert bounces == [("bounce", "address"), ("bounce", "refused")]


@pytest.mark.parametrize("status", ["queued", "sending", "who knows", ""])
def test_status_that_is_not_final_changes_nothing(door: Doorway, status: str) -> None:
    assert _post_as_twilio(door, {"MessageStatus": status}).status_code == 204
    assert door.interactions() == []


def test_post_without_the_signature_of_the_provider_is_refused(door: Doorway) -> None:
    assert _post_as_twilio(door, {"MessageStatus": "delivered"}, key=b"guess").status_code == 403
    assert _post_as_sinch(door, {"status": "Delivered"}, key=b"guess").status_code == 403
    assert _post(door, "/v1/providers/twilio", b"", {}).status_code == 403
    assert _post(door, "/v1/providers/nobody", b"", {}).status_code == 404
    assert door.interactions() == []


def test_status_without_a_signed_link_is_refused(door: Doorway) -> None:
    assert _post_as_twilio(door, {"MessageStatus": "delivered"}, has_link=False).status_code == 400
    assert door.interactions() == []


@pytest.mark.parametrize(
    ("text", "consent"), [("STOP", False), (" baja. ", False), ("Start", True), ("alta", True)]
)
def test_word_in_a_reply_changes_consent(door: Doorway, text: str, consent: bool) -> None:
    fields = {"MessageSid": "SM2", "From": PHONE, "Body": text}
    assert _post_as_twilio(door, fields, has_link=False).status_code == 204
    _post_as_sinch(door, {"id": "m", "from": "34600111222", "body": text})
    consent_change, received_message = door.interactions()
    assert consent_change.kind == "identify"
    assert consent_change.identifiers == (Identifier("phone", PHONE),)
    assert consent_change.properties == {
        "consent.sms.marketing": consent,
        "consent.sms.service": consent,
    }
    assert "consent.text.marketing" in received_message.properties


def test_number_in_a_reply_without_its_plus_is_international(door: Doorway) -> None:
    assert (
        _post_as_sinch(door, {"id": "m", "from": "16051234567", "body": "stop"}).status_code == 204
    )
    [interaction] = door.interactions()
    assert interaction.identifiers == (Identifier("phone", "+16051234567"),)


@pytest.mark.parametrize("status", ["Failed", "Rejected", "Expired", "Aborted", "Deleted"])
def test_every_final_failure_of_sinch_is_a_bounce(door: Doorway, status: str) -> None:
    assert _post_as_sinch(door, {"status": status, "code": 400}).status_code == 204
    assert [interaction.name for interaction in door.interactions()] == ["bounce"]


def test_other_reply_is_a_message_received(door: Doorway) -> None:
    _post_as_twilio(
        door, {"MessageSid": "SM3", "From": PHONE, "Body": "please stop it"}, has_link=False
    )
    [interaction] = door.interactions()
    assert (interaction.kind, interaction.name) == ("track", "Message Received")
    assert interaction.properties == {"text": "please stop it"}
    assert interaction.event_id == "twilio/SM3"


def test_post_during_an_outage_of_kafka_is_answered_with_503(door: Doorway) -> None:
    door.log.failure = "away"
    assert _post_as_twilio(door, {"MessageStatus": "delivered"}).status_code == 503


def test_trial_shows_the_request_that_a_provider_gets() -> None:
    result = asyncio.run(send_trial(PHONE, None, SECRET))
    assert "provider_id" in result
    assert f"To: {PHONE}" in result
    assert "refused" in asyncio.run(send_trial("not a number", None, SECRET))
