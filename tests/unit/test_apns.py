"""Notifications through an API like Apple's: HTTP/2, tokens signed by the team's key."""

import asyncio
import time

import pytest
from aiohttp import ClientSession
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwt
from joserfc.jwk import ECKey
from msgspec.structs import replace

from pipeline.config.compiled import CompiledChannel
from pipeline.delivery.channel_adapter import (
    Acceptance,
    Bounce,
    DeliveryResult,
    MissedDeadline,
)
from pipeline.delivery.http_clients import open_http2
from pipeline.delivery.sms.adapter import SmsAdapter
from pipeline.delivery.trial_delivery import trial_host
from tests.support.attempts import RecordedAttempt
from tests.support.http2_server import Http2Server
from tests.support.providers import expiring_parcel, shipped_provider, to_pem
from tests.unit.test_courier import _ACTION

_APPLE = "https://api.push.apple.com"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> ECKey:
    pem = to_pem(ec.generate_private_key(ec.SECP256R1()))
    monkeypatch.setenv("APNS_TEAM", "TEAM123456")
    monkeypatch.setenv("APNS_KEY_ID", "KEY1234567")
    monkeypatch.setenv("APNS_KEY", pem)
    monkeypatch.setenv("APNS_TOPIC", "example.shop")
    return ECKey.import_key(pem)


def _deliver(
    apple: Http2Server, message_count: int = 1, seconds: float = 20, url: str | None = None
) -> tuple[list[DeliveryResult], list[str]]:
    attempts = RecordedAttempt()

    async def run() -> list[DeliveryResult]:
        async with (
            apple.listening() as local_url,
            ClientSession() as client,
            open_http2() as http2,
        ):
            provider = shipped_provider("apns")
            request = provider.request
            request = replace(request, url=request.url.replace(_APPLE, url or local_url))
            provider = replace(provider, request=request)
            channel = CompiledChannel("app", "sms", None, None, (), provider=provider)
            adapter = SmsAdapter(client, trial_host(channel, "secret"), http2)
            content = {"title": "Shoes", "text": "Until Sunday", "url": "https://shop.example"}
            parcel = expiring_parcel(
                _ACTION, seconds, channel="app", address="00fc13adff785122", content=content
            )
            return [await adapter.deliver(parcel, attempts) for _ in range(message_count)]

    return asyncio.run(run()), attempts.records


def test_message_has_the_form_that_apple_documents(key: ECKey) -> None:
    apple = Http2Server()
    results, _ = _deliver(apple, message_count=2)
    assert all(isinstance(result, Acceptance) for result in results)
    first_post, second_post = apple.posts
    assert first_post.path == "/3/device/00fc13adff785122"
    assert first_post.content == {
        "aps": {"alert": {"title": "Shoes", "body": "Until Sunday"}},
        "url": "https://shop.example",
        "token": _ACTION.token,
    }
    expected = {
        "apns-topic": "example.shop",
        "apns-push-type": "alert",
        "apns-priority": "10",
        "apns-collapse-id": _ACTION.action_id,
    }
    assert expected.items() <= first_post.headers.items()
    scheme, _, token = first_post.headers["authorization"].partition(" ")
    claims = jwt.decode(token, key)
    assert (scheme, claims.header["alg"], claims.header["kid"]) == ("bearer", "ES256", "KEY1234567")
    assert claims.claims["iss"] == "TEAM123456"
    assert abs(claims.claims["iat"] - time.time()) < 60
    assert second_post.headers["authorization"] == first_post.headers["authorization"]
    assert apple.connection_count == 1


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (400, "BadDeviceToken", "address"),
        (410, "Unregistered", "address"),
        (400, "DeviceTokenNotForTopic", "address"),
        (413, "PayloadTooLarge", "refused"),
    ],
)
def test_refusal_is_a_bounce_of_its_kind(status: int, reason: str, kind: str) -> None:
    apple = Http2Server(answers=[(status, {"reason": reason})])
    results, _ = _deliver(apple)
    assert results == [Bounce(status, {"bounce": kind, "error": reason})]


def test_refused_token_is_replaced_by_a_new_one() -> None:
    apple = Http2Server(answers=[(403, {"reason": "ExpiredProviderToken"})])
    results, _ = _deliver(apple)
    assert isinstance(results[0], Acceptance)
    assert len({post.headers["authorization"] for post in apple.posts}) == 2


def test_message_is_repeated_after_a_busy_answer_or_a_cut_connection() -> None:
    apple = Http2Server(answers=[(429, {"reason": "TooManyRequests"}), None, (500, None)])
    results, _ = _deliver(apple)
    assert isinstance(results[0], Acceptance)
    assert len(apple.posts) == 4
    assert {post.headers["apns-collapse-id"] for post in apple.posts} == {_ACTION.action_id}


def test_message_to_an_unreachable_server_expires_unsent() -> None:
    results, attempts = _deliver(Http2Server(), seconds=2.0, url="http://127.0.0.1:1")
    assert isinstance(results[0], MissedDeadline)
    assert not results[0].unsure
    assert attempts[-1] == "failed"
