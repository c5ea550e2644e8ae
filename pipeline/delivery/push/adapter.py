"""Adapter of web push: one request per action to the browser's push service.

A message may be sent again, since a repeat has the same `Topic`, by which the service replaces a
waiting message, and the same tag, by which the browser replaces a shown notification.
"""

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache, partial
from typing import Final

from aiohttp import ClientSession, DummyCookieJar
from cryptography.exceptions import UnsupportedAlgorithm
from py_vapid import Vapid02, VapidException

from pipeline.config.compiled import CompiledChannel
from pipeline.config.keys import expand_variables
from pipeline.delivery.channel_adapter import (
    AdapterHost,
    Attempt,
    Bounced,
    ChannelAdapter,
    Delivered,
    DeliveryResult,
    Parcel,
)
from pipeline.delivery.http_clients import Http1Client, NotSentError
from pipeline.delivery.push.message import (
    PushSender,
    SubscriptionProblem,
    push_post,
    read_subscription,
)
from pipeline.delivery.retries import TryAgainError, deliver_until
from pipeline.model.decision import Action
from pipeline.model.interaction import Identifier

_LONGEST_WAIT_S: Final = 60.0
_ACCEPTED: Final = range(200, 300)
_GONE: Final = frozenset({404, 410})
_TRY_AGAIN: Final = frozenset({408, 425, 429})
_FAILING: Final = 500


class PushAdapter:
    """Adapter that posts to the push service of each subscription."""

    def __init__(self, client: ClientSession, host: AdapterHost) -> None:
        self._client = Http1Client(client)
        self._host = host

    def serves(self, channel: str) -> bool:
        found = self._host.find_channel(channel)
        return found is not None and found.push is not None

    def may_repeat(self, channel: str) -> bool:
        """Return True: services and browsers replace a message by its repeat."""
        return True

    async def deliver(self, parcel: Parcel, attempt: Attempt) -> DeliveryResult:
        attempt_once = partial(self._try, parcel, attempt)
        return await deliver_until(parcel.give_up_s, _LONGEST_WAIT_S, attempt_once)

    async def _try(self, parcel: Parcel, attempt: Attempt) -> DeliveryResult:
        action = parcel.action
        channel = self._host.find_channel(action.channel)
        if channel is None or channel.push is None:
            return Bounced(0)
        sender = _sender(channel)
        if isinstance(sender, str):
            raise TryAgainError(sender)
        subscription = read_subscription(action.address or "", sender.services)
        if isinstance(subscription, SubscriptionProblem):
            return Bounced(0, {"bounce": "address", "reason": subscription.why})
        post = push_post(action, subscription, sender, parcel.give_up_s - time.time())
        if isinstance(post, SubscriptionProblem):
            return Bounced(0, {"bounce": "refused", "reason": post.why})
        attempt.begin()
        try:
            reply = await self._client.post(post, parcel.give_up_s)
        except NotSentError:
            attempt.record_failure()
            raise
        status = reply.status
        if status in _ACCEPTED:
            return Delivered()
        if status in _TRY_AGAIN or status >= _FAILING:
            attempt.record_failure()
            raise TryAgainError(f"status {status}", reply.after_s)
        if status in _GONE:
            await self._remove(channel, action)
            return Bounced(status, {"bounce": "address"})
        return Bounced(status, {"bounce": "refused"})

    async def _remove(self, channel: CompiledChannel, action: Action) -> None:
        """Unlink an expired subscription from its customer."""
        assert channel.push is not None
        expired = Identifier(channel.push.namespace, action.address or "")
        if expired != action.identifier:
            await self._host.unlink(expired, action.identifier)


@asynccontextmanager
async def open_adapter(host: AdapterHost) -> AsyncIterator[ChannelAdapter]:
    """Open the adapter with a pool of connections to the push services."""
    async with ClientSession(cookie_jar=DummyCookieJar(), trust_env=True) as client:
        yield PushAdapter(client, host)


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
