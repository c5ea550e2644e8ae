"""Adapter of message providers: one HTTP request per action, with retries until its deadline.

Few providers recognise repeats. So the ledger records the attempt before the request, and an
attempt without an answer is not repeated, unless the provider's file names an idempotency header.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import msgspec
import phonenumbers
from aiohttp import ClientSession, DummyCookieJar

from pipeline.adapters.json_paths import text_at
from pipeline.adapters.signed_links import MessageLinks
from pipeline.config.model.providers import Provider, ProviderAnswer
from pipeline.delivery.channel_adapter import (
    Acceptance,
    AdapterHost,
    Attempt,
    Bounce,
    ChannelAdapter,
    DeliveryResult,
    Parcel,
    UnconfirmedAttempt,
)
from pipeline.delivery.http_clients import (
    Http1Client,
    HttpPost,
    NotSentError,
    PostClient,
    open_http2,
)
from pipeline.delivery.retries import (
    MisconfiguredError,
    NoAnswerError,
    TryAgainError,
    deliver_until,
)
from pipeline.delivery.sms.access_tokens import AccessTokens
from pipeline.delivery.sms.request import ProviderProblem, provider_post
from pipeline.delivery.sms.segments import count_segments

_MAX_WAIT_S: Final = 60.0
_SUCCESS_STATUSES: Final = range(200, 300)
_RETRY_STATUSES: Final = frozenset({408, 425, 429, 503})

_SERVER_ERROR: Final = 500


class SmsAdapter:
    """Adapter that posts to the provider of each channel; `http2` serves providers with HTTP/2
    only."""

    def __init__(
        self, client: ClientSession, host: AdapterHost, http2: PostClient | None = None
    ) -> None:
        self._http1 = Http1Client(client)
        self._http2 = http2
        self._host = host
        self._links = MessageLinks(host.signing_secret)
        self._tokens = AccessTokens(client)

    def serves(self, channel: str) -> bool:
        return self._provider(channel) is not None

    def may_repeat(self, channel: str) -> bool:
        provider = self._provider(channel)
        return provider is not None and provider.request.idempotency_header is not None

    async def deliver(self, parcel: Parcel, attempt: Attempt) -> DeliveryResult:
        may_repeat = self.may_repeat(parcel.action.channel)
        attempt_once = partial(self._try, parcel, attempt)
        try:
            return await deliver_until(
                parcel, _MAX_WAIT_S, self._host.faults, attempt_once, repeat_unanswered=may_repeat
            )
        except NoAnswerError as error:
            return UnconfirmedAttempt(str(error))

    async def _try(self, parcel: Parcel, attempt: Attempt) -> DeliveryResult:
        provider = self._provider(parcel.action.channel)
        if provider is None:
            return Bounce(0)
        recipient = _address(provider, parcel.action.address or "")
        if recipient is None:
            return Bounce(0, {"bounce": "address"})
        token = await self._tokens.find(provider)
        post = provider_post(provider, parcel.action, recipient, self._links, token)
        if isinstance(post, ProviderProblem):
            raise MisconfiguredError(post.reason)
        attempt.begin()
        status, answer = await self._post(provider, post, attempt, parcel.deadline_s)
        if status in _SUCCESS_STATUSES:
            details = {"segments": count_segments(parcel.action.content.get("text", ""))}
            message_id = text_at(answer, provider.answer.id)
            return Acceptance(
                details if message_id is None else {**details, "provider_id": message_id}
            )
        attempt.record_failure()
        refusal = _refusal_of(status, answer, provider.answer)
        if status == HTTPStatus.UNAUTHORIZED or (
            token and status == HTTPStatus.FORBIDDEN and refusal.is_soft
        ):
            self._tokens.discard(provider, token)
            secret = "the access token" if token else "the user, password or key"
            raise MisconfiguredError(
                f"provider {provider.provider} refuses {secret}: status {status}"
                + (f", error {refusal.code}" if refusal.code else "")
            )
        return refusal.bounce()

    async def _post(
        self, provider: Provider, post: HttpPost, attempt: Attempt, deadline_s: float
    ) -> tuple[int, Any]:
        """Post once; return status and body of a final answer. Raises TryAgainError."""
        client = self._http2 if provider.request.http2 else self._http1
        assert client is not None
        try:
            reply = await client.post(post, deadline_s)
        except NotSentError:
            attempt.record_failure()
            raise
        if reply.status in _RETRY_STATUSES:
            attempt.record_failure()
            raise TryAgainError(f"status {reply.status}", reply.delay_s)
        if reply.status >= _SERVER_ERROR:
            raise NoAnswerError(f"status {reply.status}")
        return reply.status, _decode(reply.body)

    def _provider(self, channel: str) -> Provider | None:
        config = self._host.find_channel(channel)
        return None if config is None else config.provider


@dataclass(frozen=True, slots=True)
class _ProviderRefusal:
    """Refusal by a provider, with the error code in its answer, and the `kind` of bounce."""

    status: int
    code: str | None
    kind: str

    @property
    def is_soft(self) -> bool:
        """Whether the message may be accepted later."""
        return self.kind == "soft"

    def bounce(self) -> Bounce:
        """Return the bounce. Raises TryAgainError where the message may be accepted later."""
        if self.is_soft:
            raise TryAgainError(f"status {self.status}, error {self.code}")
        details = {"bounce": self.kind}
        return Bounce(
            self.status, details if self.code is None else {**details, "error": self.code}
        )


@asynccontextmanager
async def open_adapter(host: AdapterHost) -> AsyncIterator[ChannelAdapter]:
    """Open the adapter with a pool of connections to the providers."""
    async with (
        ClientSession(cookie_jar=DummyCookieJar(), trust_env=True) as client,
        open_http2() as http2,
    ):
        yield SmsAdapter(client, host, http2)


def _refusal_of(status: int, answer: Any, form: ProviderAnswer) -> _ProviderRefusal:
    code = text_at(answer, form.error)
    return _ProviderRefusal(status, code, str(form.errors.get(code or "", "refused")))


def _address(provider: Provider, address: str) -> str | None:
    """Return the address in the provider's form, or None if the provider cannot use it."""
    if provider.to == "any":
        return address or None
    try:
        number = phonenumbers.parse(address)
    except phonenumbers.NumberParseException:
        return None
    if number.extension or not phonenumbers.is_possible_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _decode(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
