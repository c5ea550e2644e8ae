"""Adapter of providers of messages: one HTTP request per action, with retries until its deadline.

Few providers recognise repeats. So the ledger records the attempt before the request, and one whose
answer never came is not repeated, unless the provider's file names an idempotency header.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import msgspec
import phonenumbers
from aiohttp import ClientConnectorError, ClientError, ClientSession, DummyCookieJar

from pipeline.adapters.json_paths import text_at
from pipeline.adapters.signed_links import MessageLinks
from pipeline.config.provider import Provider, ProviderAnswer
from pipeline.delivery.channel_adapter import (
    AdapterHost,
    Attempt,
    Bounced,
    ChannelAdapter,
    Delivered,
    DeliveryResult,
    Parcel,
    Unconfirmed,
)
from pipeline.delivery.retries import (
    NoAnswerError,
    TryAgainError,
    deliver_until,
    request_timeout,
    retry_after_s,
)
from pipeline.delivery.sms.access_tokens import AccessTokens
from pipeline.delivery.sms.request import ProviderPost, UnusableProvider, provider_post
from pipeline.delivery.sms.segments import segments

_LONGEST_WAIT_S: Final = 60.0
_ANSWER_BYTES: Final = 65_536
_ACCEPTED: Final = range(200, 300)
_NOT_TAKEN: Final = frozenset({408, 425, 429, 503})
_UNKNOWN_TOKEN: Final = 401
_FAILING: Final = 500
_MOST_AFTER_S: Final = 600.0


class SmsAdapter:
    """Adapter that posts to the provider of each channel."""

    def __init__(self, client: ClientSession, host: AdapterHost) -> None:
        self._client = client
        self._host = host
        self._links = MessageLinks(host.signing_secret)
        self._tokens = AccessTokens(client)

    def serves(self, channel: str) -> bool:
        return self._provider(channel) is not None

    def may_repeat(self, channel: str) -> bool:
        provider = self._provider(channel)
        return provider is not None and provider.request.idempotency_header is not None

    async def deliver(self, parcel: Parcel, attempt: Attempt) -> DeliveryResult:
        repeats = self.may_repeat(parcel.action.channel)
        attempt_once = partial(self._try, parcel, attempt)
        try:
            return await deliver_until(
                parcel.give_up_s, _LONGEST_WAIT_S, attempt_once, unanswered=repeats
            )
        except NoAnswerError as error:
            return Unconfirmed(str(error))

    async def _try(self, parcel: Parcel, attempt: Attempt) -> DeliveryResult:
        provider = self._provider(parcel.action.channel)
        if provider is None:
            return Bounced(0)
        to = _address(provider, parcel.action.address or "")
        if to is None:
            return Bounced(0, {"bounce": "address"})
        token = await self._tokens.find(provider)
        post = provider_post(provider, parcel.action, to, self._links, token)
        if isinstance(post, UnusableProvider):
            raise TryAgainError(post.why)
        attempt.begin()
        status, answer = await self._post(post, attempt, parcel.give_up_s)
        if status in _ACCEPTED:
            said = {"segments": segments(parcel.action.content.get("text", ""))}
            found = text_at(answer, provider.answer.id)
            return Delivered(said if found is None else {**said, "provider_id": found})
        attempt.record_failure()
        if status == _UNKNOWN_TOKEN and token:
            self._tokens.forget(provider)
            raise TryAgainError(f"status {status}: the access token is refused")
        return _bounce_of(status, answer, provider.answer)

    async def _post(
        self, post: ProviderPost, attempt: Attempt, give_up_s: float
    ) -> tuple[int, Any]:
        """Post once; return status and answer of a provider that has decided."""
        try:
            async with self._client.post(
                post.url,
                data=post.body,
                headers=post.headers,
                timeout=request_timeout(give_up_s),
                allow_redirects=False,
            ) as response:
                status, after = response.status, response.headers.get("Retry-After")
                raw = await _read(response.content.read)
        except ClientConnectorError as error:
            attempt.record_failure()
            raise TryAgainError(type(error).__name__) from error
        except (ClientError, TimeoutError) as error:
            raise NoAnswerError(type(error).__name__) from error
        if status in _NOT_TAKEN:
            attempt.record_failure()
            after_s = min(retry_after_s(after), _MOST_AFTER_S)
            raise TryAgainError(f"status {status}", after_s)
        if status >= _FAILING:
            raise NoAnswerError(f"status {status}")
        return status, _decode(raw)

    def _provider(self, channel: str) -> Provider | None:
        found = self._host.find_channel(channel)
        return None if found is None else found.provider


@asynccontextmanager
async def open_adapter(host: AdapterHost) -> AsyncIterator[ChannelAdapter]:
    """Open the adapter with a pool of connections to the providers."""
    async with ClientSession(cookie_jar=DummyCookieJar(), trust_env=True) as client:
        yield SmsAdapter(client, host)


def _bounce_of(status: int, answer: Any, form: ProviderAnswer) -> DeliveryResult:
    """Return the bounce of a refusal; raise where its code says that it may be taken later."""
    code = text_at(answer, form.error)
    kind = form.errors.get(code or "", "refused")
    if kind == "soft":
        raise TryAgainError(f"status {status}, error {code}")
    details = {"bounce": str(kind)}
    return Bounced(status, details if code is None else {**details, "error": code})


def _address(provider: Provider, address: str) -> str | None:
    """Return the address as the provider takes it; None where it is no number."""
    if provider.to == "any":
        return address or None
    try:
        number = phonenumbers.parse(address)
    except phonenumbers.NumberParseException:
        return None
    if number.extension or not phonenumbers.is_possible_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


async def _read(read: Any) -> bytes:
    """Read a short answer; a longer or slower one is cut, for the status says what matters."""
    received = bytearray()
    try:
        async with asyncio.timeout(2.0):
            while len(received) < _ANSWER_BYTES and (part := await read(_ANSWER_BYTES)):
                received += part
    except (ClientError, TimeoutError):
        pass
    return bytes(received)


def _decode(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
