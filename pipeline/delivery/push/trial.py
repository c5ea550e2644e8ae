"""Trial of web push: one message through the adapter to a push service on this machine."""

import json
from base64 import urlsafe_b64encode
from os import environ, urandom
from typing import Final

import http_ece
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from py_vapid import Vapid02

from pipeline.config.compiled import CompiledChannel
from pipeline.config.model import Push
from pipeline.delivery.push.adapter import PushAdapter
from pipeline.delivery.trial_delivery import deliver_trial, trial_host

_HOST: Final = "127.0.0.1"
_VARIABLE: Final = "KAIROS_TRIAL_VAPID"


class LocalBrowser:
    """Browser and push service on this machine, which keeps `messages` (headers, body).

    `answers`: statuses of the next answers, with their reasons; later ones are 201.
    """

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.secret = urandom(16)
        self.messages: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int | tuple[int, str]] = []

    def subscription(self, url: str) -> str:
        """Return the subscription whose messages are posted to `url`."""
        public = self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        keys = {"p256dh": base64url(public), "auth": base64url(self.secret)}
        return json.dumps({"endpoint": url, "keys": keys}, separators=(",", ":"))

    def read(self, body: bytes) -> bytes:
        """Return the payload of a message."""
        payload: bytes = http_ece.decrypt(
            body, private_key=self.key, auth_secret=self.secret, version="aes128gcm"
        )
        return payload

    async def receive(self, request: web.Request) -> web.Response:
        """Keep a message, and answer as planned, or with 201."""
        self.messages.append((dict(request.headers), await request.read()))
        answer = self.answers.pop(0) if self.answers else 201
        status, text = (answer, "") if isinstance(answer, int) else answer
        return web.Response(status=status, text=text)


def base64url(data: bytes) -> str:
    """Return base64 for URLs, without padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def new_key() -> str:
    """Return a new VAPID private key, in base64 for URLs."""
    vapid = Vapid02()
    vapid.generate_keys()
    return base64url(vapid.private_key.private_numbers().private_value.to_bytes(32))


async def send_trial(address: str, server_url: str | None, secret: str) -> str:
    """Send a message that names `address` to the server or to a browser on this machine.

    Returns the result, the messages that the browser decrypted, and a new key.
    """
    environ[_VARIABLE] = key = new_key()
    push = Push(key=f"${{{_VARIABLE}}}", contact="mailto:kairos@localhost", services=(_HOST,))
    channel = CompiledChannel("push", "push", None, None, (), push=push)
    browser = LocalBrowser()
    app = web.Application()
    app.router.add_post("/push", browser.receive)
    async with TestServer(app, host=_HOST) as server, ClientSession() as client:
        subscription = browser.subscription(server_url or str(server.make_url("/push")))
        adapter = PushAdapter(client, trial_host(channel, secret))
        content = {"title": "A trial", "text": f"Hello, {address}."}
        result = await deliver_trial(adapter, channel.name, subscription, content)
    payloads = [browser.read(body).decode() for _, body in browser.messages]
    return "\n".join([result, *payloads, "", f"A VAPID private key for you: {key}"])
