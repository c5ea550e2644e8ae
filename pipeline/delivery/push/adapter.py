"""Adapter of web push: one request per action to the browser's push service.

A message may be sent again, since a repeat has the same `Topic`, by which the service replaces a
waiting message, and the same tag, by which the browser replaces a shown notification.
"""

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Final
from urllib.parse import urlsplit

from aiohttp import ClientSession, DummyCookieJar
from cryptography.exceptions import UnsupportedAlgorithm
from py_vapid import Vapid02, VapidException

from pipeline.config.compiled import CompiledChannel
from pipeline.config.keys import expand_variables
from pipeline.delivery.channel_adapter import (
    Acceptance,
    AdapterHost,
    Attempt,
    Bounce,
    ChannelAdapter,
    DeliveryResult,
    Parcel,
)
from pipeline.delivery.http_clients import Http1Client, HttpReply, NotSentError
from pipeline.delivery.push.answers import read_answer
from pipeline.delivery.push.message import (
    PushProblem,
    PushSender,
    push_post,
    read_subscription,
)
from pipeline.delivery.retries import MisconfiguredError, TryAgainError, deliver_until
from pipeline.model.decision import Action
from pipeline.model.interaction import Identifier

_MAX_WAIT_S: Final = 60.0
_MAX_REASON_CHARACTERS: Final = 160
_OTHER_KEY: Final = {"bounce": "address", "reason": "it was made with another VAPID key"}


@dataclass(frozen=True, slots=True)
class _PushPost:
    """Post of an action to a `service`, signed by the private half of `key`."""

    channel: CompiledChannel
    action: Action
    key: str
    service: str


class PushAdapter:
    """Adapter that posts to the push service of each subscription.

    A key that a service refuses is a fault of the channel, and holds back its messages to this
    service. Once the service has accepted a message with this key, the key is valid: a
    subscription that it then refuses as made with another key is lost.
    """

    def __init__(self, client: ClientSession, host: AdapterHost) -> None:
        self._client = Http1Client(client)
        self._host = host
        self._proven_keys: set[tuple[str, str]] = set()
        """Public keys, each with a service that has accepted it."""

    def serves(self, channel: str) -> bool:
        config = self._host.find_channel(channel)
        return config is not None and config.push is not None

    def may_repeat(self, channel: str) -> bool:
        """Return True: services and browsers replace a message by its repeat."""
        return True

    async def deliver(self, parcel: Parcel, attempt: Attempt) -> DeliveryResult:
        attempt_once = partial(self._try, parcel, attempt)
        return await deliver_until(parcel, _MAX_WAIT_S, self._host.faults, attempt_once)

    async def _try(self, parcel: Parcel, attempt: Attempt) -> DeliveryResult:
        action = parcel.action
        channel = self._host.find_channel(action.channel)
        if channel is None or channel.push is None:
            return Bounce(0)
        sender = _sender(channel)
        if isinstance(sender, str):
            raise MisconfiguredError(sender)
        subscription = read_subscription(action.address or "", sender.services)
        if isinstance(subscription, PushProblem):
            return _bounce(subscription)
        request = push_post(action, subscription, sender, parcel.deadline_s - time.time())
        if isinstance(request, PushProblem):
            return _bounce(request)
        attempt.begin()
        try:
            reply = await self._client.post(request, parcel.deadline_s)
        except NotSentError:
            attempt.record_failure()
            raise
        service = urlsplit(subscription.endpoint).hostname or ""
        post = _PushPost(channel, action, sender.public_key(), service)
        return await self._evaluate(reply, post, attempt)

    async def _evaluate(
        self, reply: HttpReply, post: _PushPost, attempt: Attempt
    ) -> DeliveryResult:
        """Return the result that an answer means. Raises TryAgainError."""
        service = post.service
        is_proven = (post.key, service) in self._proven_keys
        match read_answer(reply.status, reply.body):
            case "accepted":
                self._proven_keys.add((post.key, service))
                self._host.faults.remove(post.channel.name, service)
                return Acceptance()
            case "gone":
                await self._unlink_subscription(post)
                return Bounce(reply.status, {"bounce": "address"})
            case "other_key" if is_proven:
                await self._unlink_subscription(post)
                return Bounce(reply.status, _OTHER_KEY)
            case "other_key" | "denied":
                attempt.record_failure()
                raise MisconfiguredError(_describe_key_refusal(service, reply), service)
            case "later":
                attempt.record_failure()
                raise TryAgainError(f"status {reply.status}", reply.delay_s)
            case "refused":
                return Bounce(reply.status, {"bounce": "refused"})

    async def _unlink_subscription(self, post: _PushPost) -> None:
        """Unlink a lost subscription from its customer."""
        assert post.channel.push is not None
        subscription = Identifier(post.channel.push.namespace, post.action.address or "")
        if subscription != post.action.identifier:
            await self._host.unlink(subscription, post.action.identifier)


@asynccontextmanager
async def open_adapter(host: AdapterHost) -> AsyncIterator[ChannelAdapter]:
    """Open the adapter with a pool of connections to the push services."""
    async with ClientSession(cookie_jar=DummyCookieJar(), trust_env=True) as client:
        yield PushAdapter(client, host)


def _bounce(problem: PushProblem) -> Bounce:
    """Return the bounce of a message that was not posted."""
    return Bounce(0, {"bounce": problem.bounce, "reason": problem.reason})


def _describe_key_refusal(service: str, reply: HttpReply) -> str:
    """Describe the refusal of a key, with the reason that the service gives."""
    reason = " ".join(reply.body.decode(errors="replace").split())[:_MAX_REASON_CHARACTERS]
    text = f"{service} refuses the VAPID key, or `push.contact`: status {reply.status} {reason}"
    return text.strip()


def _sender(channel: CompiledChannel) -> PushSender | str:
    """Return the sender, with the key from this process's environment, or the error."""
    assert channel.push is not None
    key = expand_variables(channel.push.key, os.environ)
    vapid = _vapid(key) if key else None
    if vapid is None:
        return f"channel {channel.name}: the variable in `push.key` holds no VAPID private key"
    return PushSender(vapid, channel.push.contact, channel.push.services)


@lru_cache(maxsize=16)
def _vapid(key: str) -> Vapid02 | None:
    """Parse a key in PEM (perhaps on one line, with `\\n`) or base64; None: it is invalid."""
    try:
        if "BEGIN" in key:
            return Vapid02.from_pem(key.replace("\\n", "\n").encode())
        return Vapid02.from_string(key)
    except (ValueError, VapidException, UnsupportedAlgorithm):
        return None
