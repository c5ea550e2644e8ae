"""Form of a push message: subscription, encrypted payload, headers."""

import time
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec import Struct
from py_vapid import Vapid02
from pywebpush import WebPusher, WebPushException

from pipeline.delivery.http_clients import HttpPost
from pipeline.model.decision import Action

_MAX_BYTES: Final = 3_900
"""Largest payload that every push service accepts once encrypted (4,096 bytes)."""

_CLAIM_S: Final = 12 * 3_600
_TOPIC_LENGTH: Final = 32
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


class SubscriptionKeys(Struct, frozen=True):
    """Public key and secret of a browser, in base64 for URLs."""

    p256dh: str
    auth: str


class Subscription(Struct, frozen=True):
    """Subscription of a browser, in the form of `JSON.stringify(subscription)`."""

    endpoint: str
    keys: SubscriptionKeys


class PushPayload(Struct, frozen=True, omit_defaults=True):
    """Payload for the service worker; `tag`: the browser replaces a shown notification with the
    same one, `token`: for outcomes."""

    title: str
    body: str
    tag: str
    token: str
    url: str = ""
    icon: str = ""


@dataclass(frozen=True, slots=True)
class PushProblem:
    """Reason why a message cannot be posted to a subscription, and the kind of its bounce."""

    reason: str
    bounce: Literal["address", "refused"] = "address"


@dataclass(frozen=True, slots=True)
class PushSender:
    """Signing key for push services, with its contact, and the trusted services.

    A subscription comes from a browser, so its endpoint is used only if it is at one of `services`.
    """

    vapid: Vapid02
    contact: str
    services: Sequence[str]

    def public_key(self) -> str:
        """Return the public half of the key, in base64 for URLs."""
        point = self.vapid.public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return urlsafe_b64encode(point).rstrip(b"=").decode()


def read_subscription(text: str, services: Sequence[str]) -> Subscription | PushProblem:
    """Return the subscription in an address, if its endpoint is at one of the services."""
    try:
        subscription = msgspec.json.decode(text, type=Subscription)
        parts = urlsplit(subscription.endpoint)
    except (msgspec.DecodeError, ValueError):
        return PushProblem("not a subscription")
    host = parts.hostname or ""
    if not any(host == service or host.endswith(f".{service}") for service in services):
        return PushProblem("its endpoint is at no push service of the channel")
    if parts.scheme != "https" and host not in _LOOPBACK:
        return PushProblem("its endpoint is not https")
    return subscription


def push_post(
    action: Action, subscription: Subscription, sender: PushSender, lifetime_s: float
) -> HttpPost | PushProblem:
    """Return the request for an action, which the service discards after `lifetime_s`."""
    payload = msgspec.json.encode(_payload(action))
    if len(payload) > _MAX_BYTES:
        return PushProblem(f"the message has more than {_MAX_BYTES} bytes", "refused")
    try:
        pusher = WebPusher(msgspec.to_builtins(subscription))
        body: bytes = pusher.encode(payload)["body"]
    except (WebPushException, ValueError) as error:
        return PushProblem(f"its keys are not usable: {type(error).__name__}")
    parts = urlsplit(subscription.endpoint)
    claims = {
        "aud": f"{parts.scheme}://{parts.netloc}",
        "exp": int(time.time()) + _CLAIM_S,
        "sub": sender.contact,
    }
    headers = {
        **sender.vapid.sign(claims),
        "Content-Encoding": "aes128gcm",
        "Content-Type": "application/octet-stream",
        "TTL": str(max(int(lifetime_s), 0)),
        "Urgency": "normal",
        "Topic": _topic(action.action_id),
    }
    return HttpPost(subscription.endpoint, headers, body)


def _payload(action: Action) -> PushPayload:
    content = action.content
    return PushPayload(
        title=content.get("title", ""),
        body=content.get("text", ""),
        tag=action.action_id,
        token=action.token,
        url=content.get("url", ""),
        icon=content.get("icon", ""),
    )


def _topic(action_id: str) -> str:
    """Return the name by which a push service replaces a waiting message by its repeat."""
    return urlsafe_b64encode(sha256(action_id.encode()).digest()).decode()[:_TOPIC_LENGTH]
