"""Notifications through a provider that requires access tokens, as Firebase does."""

import asyncio
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey
from msgspec.structs import replace

from pipeline.config.compiled import CompiledChannel
from pipeline.config.model.providers import Provider, ProviderToken
from pipeline.delivery.channel_adapter import (
    Acceptance,
    Bounce,
    DeliveryResult,
    MissedDeadline,
)
from pipeline.delivery.sms.access_tokens import AccessTokens
from pipeline.delivery.sms.adapter import SmsAdapter
from pipeline.delivery.trial_delivery import trial_host
from tests.support.attempts import RecordedAttempt
from tests.support.providers import expiring_parcel, shipped_provider, to_pem
from tests.unit.test_courier import _ACTION

_ISSUER = "kairos@shop.iam.gserviceaccount.com"
_SHORT_DEADLINE_S = 2.0
"""Time to a deadline that is missed, long enough to request a token on a busy machine."""


@pytest.fixture(scope="module")
def pem() -> str:
    return to_pem(rsa.generate_private_key(public_exponent=65_537, key_size=2_048))


@pytest.fixture(autouse=True)
def set_variables(monkeypatch: pytest.MonkeyPatch, pem: str) -> None:
    monkeypatch.setenv("FCM_PROJECT", "shop")
    monkeypatch.setenv("FCM_EMAIL", _ISSUER)
    monkeypatch.setenv("FCM_KEY", pem.replace("\n", "\\n"))


class _Firebase:
    """Stand-in for Firebase, whose tokens last `token_life_s`; answers as planned, then 200."""

    def __init__(self, pem: str, token_life_s: int = 3_600) -> None:
        self.key = RSAKey.import_key(pem)
        self.token_life_s = token_life_s
        self.assertions: list[dict[str, Any]] = []
        self.messages: list[dict[str, Any]] = []
        self.answers: list[tuple[int, Any]] = []
        self.refused_tokens: set[str] = set()
        self.token_status = 200

    async def issue_token(self, request: web.Request) -> web.Response:
        form = await request.post()
        assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
        self.assertions.append(jwt.decode(str(form["assertion"]), self.key).claims)
        answer = {"access_token": f"ya29.{len(self.assertions)}", "expires_in": self.token_life_s}
        return web.json_response(answer, status=self.token_status)

    async def take_message(self, request: web.Request) -> web.Response:
        token = request.headers["Authorization"].removeprefix("Bearer ")
        if token in self.refused_tokens or not token.startswith("ya29."):
            return web.json_response({"error": {"status": "UNAUTHENTICATED"}}, status=401)
        self.messages.append(await request.json())
        status, body = self.answers.pop(0) if self.answers else (200, {"name": "projects/shop/1"})
        return web.json_response(body, status=status)


def _deliver(
    firebase: _Firebase, message_count: int = 1, seconds: float = 20
) -> list[DeliveryResult]:
    async def run() -> list[DeliveryResult]:
        app = web.Application()
        app.router.add_post("/token", firebase.issue_token)
        app.router.add_post("/v1/projects/shop/messages:send", firebase.take_message)
        async with TestServer(app) as server, ClientSession() as client:
            fcm = shipped_provider("fcm")
            request = fcm.request
            assert request.access_token is not None
            token = replace(request.access_token, url=str(server.make_url("/token")))
            path = request.url.removeprefix("https://fcm.googleapis.com")
            url = str(server.make_url("/")).rstrip("/") + path
            provider = replace(fcm, request=replace(request, url=url, access_token=token))
            channel = CompiledChannel("app", "sms", None, None, (), provider=provider)
            adapter = SmsAdapter(client, trial_host(channel, "secret"))
            content = {"title": "Shoes", "text": 'Until "Sunday"', "url": "https://shop.example"}
            parcel = expiring_parcel(
                _ACTION, seconds, channel="app", address="registration:token", content=content
            )
            return [await adapter.deliver(parcel, RecordedAttempt()) for _ in range(message_count)]

    return asyncio.run(run())


def test_message_has_the_form_that_firebase_documents(pem: str) -> None:
    firebase = _Firebase(pem)
    [result] = _deliver(firebase)
    assert result == Acceptance({"segments": 1, "provider_id": "projects/shop/1"})
    assert firebase.messages == [
        {
            "message": {
                "token": "registration:token",
                "notification": {"title": "Shoes", "body": 'Until "Sunday"'},
                "data": {"url": "https://shop.example", "token": _ACTION.token},
                "android": {
                    "collapse_key": _ACTION.action_id,
                    "notification": {"tag": _ACTION.action_id},
                },
                "apns": {"headers": {"apns-collapse-id": _ACTION.action_id}},
            }
        }
    ]
    [claims] = firebase.assertions
    assert (claims["iss"], claims["scope"]) == (
        _ISSUER,
        "https://www.googleapis.com/auth/firebase.messaging",
    )
    assert claims["aud"].endswith("/token")
    assert claims["exp"] - claims["iat"] == 3_600


def test_token_is_kept_until_it_expires_or_is_refused(pem: str) -> None:
    firebase = _Firebase(pem)
    assert len(_deliver(firebase, message_count=3)) == 3
    assert len(firebase.assertions) == 1
    brief_firebase = _Firebase(pem, token_life_s=60)
    _deliver(brief_firebase, message_count=3)
    assert len(brief_firebase.assertions) == 3
    strict_firebase = _Firebase(pem)
    strict_firebase.refused_tokens = {"ya29.1"}
    [result] = _deliver(strict_firebase)
    assert isinstance(result, Acceptance)
    assert (len(strict_firebase.assertions), len(strict_firebase.messages)) == (2, 1)


def test_message_waits_while_no_token_is_issued(pem: str) -> None:
    firebase = _Firebase(pem)
    firebase.token_status = 503
    [result] = _deliver(firebase, seconds=_SHORT_DEADLINE_S)
    assert isinstance(result, MissedDeadline)
    assert "no access token: status 503" in result.failure
    assert (result.unsure, firebase.messages) == (False, [])


@pytest.mark.parametrize("key", ["", "nonsense", "-----BEGIN PRIVATE KEY-----\\nx"])
def test_message_waits_while_the_key_is_wrong(
    pem: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FCM_KEY", key)
    [result] = _deliver(_Firebase(pem), seconds=_SHORT_DEADLINE_S)
    assert isinstance(result, MissedDeadline)
    assert "no access token" in result.failure
    assert "nonsense" not in result.failure


def _error(code: str, status: str) -> dict[str, Any]:
    kind = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
    return {"error": {"status": status, "details": [{"@type": kind, "errorCode": code}]}}


def test_errors_follow_the_documentation_of_firebase(pem: str) -> None:
    firebase = _Firebase(pem)
    firebase.answers = [
        (404, _error("UNREGISTERED", "NOT_FOUND")),
        (400, _error("INVALID_ARGUMENT", "INVALID_ARGUMENT")),
        (403, _error("SENDER_ID_MISMATCH", "PERMISSION_DENIED")),
        (429, _error("QUOTA_EXCEEDED", "RESOURCE_EXHAUSTED")),
        (503, _error("UNAVAILABLE", "UNAVAILABLE")),
    ]
    unknown_device, invalid_message, foreign_device, late_result = _deliver(
        firebase, message_count=4
    )
    assert unknown_device == Bounce(404, {"bounce": "address", "error": "UNREGISTERED"})
    assert invalid_message == Bounce(400, {"bounce": "refused", "error": "INVALID_ARGUMENT"})
    assert foreign_device == Bounce(403, {"bounce": "address", "error": "SENDER_ID_MISMATCH"})
    assert isinstance(late_result, Acceptance)
    assert len(firebase.messages) == 6


def test_token_without_an_exchange_is_the_signed_assertion(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = to_pem(ec.generate_private_key(ec.SECP256R1()))
    monkeypatch.setenv("TEAM_KEY", key)
    token_rule = ProviderToken("ES256", "TEAM", "${TEAM_KEY}", key_id="KEY1")
    request = replace(shipped_provider("fcm").request, access_token=token_rule)

    async def find_token() -> str:
        async with ClientSession() as client:
            return await AccessTokens(client).find(Provider("p", request))

    claims = jwt.decode(asyncio.run(find_token()), ECKey.import_key(key))
    assert (claims.header["kid"], claims.header["alg"]) == ("KEY1", "ES256")
    assert claims.claims["iss"] == "TEAM"
    assert "exp" not in claims.claims
