"""Adapter of e-mail: one message per action, by SMTP, with retries until its deadline.

A mail server does not recognise duplicates. So the ledger records the attempt before the message's
data are sent, and an attempt without an answer is not repeated.
"""

import asyncio
import os
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.headerregistry import Address
from functools import partial
from typing import Final

from aiolimiter import AsyncLimiter
from aiosmtplib import SMTP
from aiosmtplib.errors import (
    SMTPAuthenticationError,
    SMTPDataError,
    SMTPException,
    SMTPRecipientRefused,
    SMTPResponseException,
    SMTPSenderRefused,
)

from pipeline.adapters.mail_status import enhanced_status
from pipeline.config.compiled import CompiledChannel
from pipeline.config.keys import expand_variables
from pipeline.config.mail_addresses import parse_mailbox
from pipeline.config.model import Dkim, Email
from pipeline.config.smtp_urls import SmtpUrlProblem, parse_smtp_url
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
from pipeline.delivery.email.answers import TemporaryAnswerError, refusal
from pipeline.delivery.email.message import DkimKey, LinkMaker, Sender, compose
from pipeline.delivery.email.pool import ConnectionPool, Login, Mailer
from pipeline.delivery.email.returned_reader import read_returned_mail
from pipeline.delivery.retries import MisconfiguredError, TryAgainError, deliver_until

_MAX_WAIT_S: Final = 60.0
_MAX_LIMITERS: Final = 10_000
"""Maximum of recipient domains with a limiter in memory."""

_FAILURE_CODES: Final = range(400, 600)
_BAD_ADDRESS: Final = Bounce(0, {"bounce": "address", "enhanced": "5.1.3"})


@dataclass(frozen=True, slots=True)
class _RouteProblem:
    """Reason why a channel cannot send until the configuration or environment is corrected."""

    reason: str


@dataclass(frozen=True, slots=True)
class _Route:
    """Route of a channel's messages, with secrets from this process's environment."""

    mailer: Mailer
    sender: Sender
    return_path: str
    per_second: float


@dataclass(frozen=True, slots=True)
class _Envelope:
    """Message for transmission, with its addresses."""

    return_path: str
    recipient: str
    message: bytes


class EmailAdapter:
    """Adapter that sends the actions of its channels to their SMTP servers."""

    def __init__(self, host: AdapterHost) -> None:
        self._host = host
        self._links = LinkMaker(host.signing_secret)
        self._pools: dict[Mailer, ConnectionPool] = {}
        self._limiters: OrderedDict[tuple[str, float], AsyncLimiter] = OrderedDict()

    def serves(self, channel: str) -> bool:
        config = self._host.find_channel(channel)
        return config is not None and config.email is not None

    def may_repeat(self, channel: str) -> bool:
        config = self._host.find_channel(channel)
        return config is not None and config.email is not None and config.email.resend_unknown

    async def deliver(self, parcel: Parcel, attempt: Attempt) -> DeliveryResult:
        recipient = parse_mailbox(parcel.action.address or "")
        if recipient is None:
            return _BAD_ADDRESS
        attempt_once = partial(self._try, parcel, recipient, attempt)
        return await deliver_until(parcel, _MAX_WAIT_S, self._host.faults, attempt_once)

    async def close(self) -> None:
        for pool in self._pools.values():
            await pool.close()

    async def _try(self, parcel: Parcel, recipient: Address, attempt: Attempt) -> DeliveryResult:
        action = parcel.action
        channel = self._host.find_channel(action.channel)
        if channel is None or channel.email is None:
            return Bounce(0)
        route = _route(channel, channel.email)
        if isinstance(route, _RouteProblem):
            raise MisconfiguredError(route.reason)
        envelope = _Envelope(
            route.return_path,
            recipient.addr_spec,
            compose(action, recipient, route.sender, self._links, datetime.now(UTC)),
        )
        await self._wait_for_limit(recipient.domain, route.per_second, parcel.deadline_s)
        try:
            async with self._pool(route.mailer).connection() as smtp:
                if time.time() >= parcel.deadline_s:
                    raise TryAgainError("no connection was free in time")
                return await _transmit(smtp, envelope, attempt)
        except SMTPAuthenticationError as error:
            reason = f"channel {channel.name}: the server refuses the user or password"
            raise MisconfiguredError(f"{reason}: {_reason(error)}") from error
        except (SMTPException, OSError, TemporaryAnswerError) as error:
            raise TryAgainError(_reason(error)) from error

    def _pool(self, mailer: Mailer) -> ConnectionPool:
        pool = self._pools.get(mailer)
        if pool is None:
            pool = self._pools[mailer] = ConnectionPool(mailer)
        return pool

    async def _wait_for_limit(self, domain: str, per_second: float, deadline_s: float) -> None:
        key = (domain.lower(), per_second)
        limiter = self._limiters.get(key)
        if limiter is None:
            limiter = AsyncLimiter(max(per_second, 1), max(1, 1 / per_second))
            self._limiters[key] = limiter
        self._limiters.move_to_end(key)
        if len(self._limiters) > _MAX_LIMITERS:
            self._limiters.popitem(last=False)
        try:
            async with asyncio.timeout(max(deadline_s - time.time(), 0)):
                await limiter.acquire()
        except TimeoutError as error:
            raise TryAgainError("the limit per domain and second left no time") from error


@asynccontextmanager
async def open_adapter(host: AdapterHost) -> AsyncIterator[ChannelAdapter]:
    """Open the adapter, and read bounces and complaints while it is open."""
    adapter = EmailAdapter(host)
    reader_task = asyncio.create_task(read_returned_mail(host))
    try:
        yield adapter
    finally:
        reader_task.cancel()
        await asyncio.gather(reader_task, return_exceptions=True)
        await adapter.close()


async def _transmit(smtp: SMTP, envelope: _Envelope, attempt: Attempt) -> DeliveryResult:
    """Send a message on an open connection.

    Raises SMTPException, OSError and TemporaryAnswerError where the server has certainly not
    accepted the message.
    """
    try:
        await smtp.mail(envelope.return_path)
        await smtp.rcpt(envelope.recipient)
    except (SMTPSenderRefused, SMTPRecipientRefused) as error:
        concerns_recipient = isinstance(error, SMTPRecipientRefused)
        return refusal(error.code, error.message, concerns_recipient=concerns_recipient)
    attempt.begin()
    try:
        await smtp.data(envelope.message)
    except SMTPDataError as error:
        if error.code not in _FAILURE_CODES:  # an invalid answer after the data
            return UnconfirmedAttempt(_reason(error))
        attempt.record_failure()
        return refusal(error.code, error.message, concerns_recipient=False)
    except (SMTPException, OSError) as error:
        return UnconfirmedAttempt(_reason(error))
    return Acceptance()


def _route(channel: CompiledChannel, email: Email) -> _Route | _RouteProblem:
    """Return the route of a channel's messages, with variables of the environment."""
    texts = {"url": channel.url, "links": email.links, "password": email.password}
    texts["dkim.key"] = email.dkim.key if email.dkim else None
    values = {
        name: expand_variables(text, os.environ) for name, text in texts.items() if text is not None
    }
    unset_fields = [name for name, value in values.items() if not value]
    if unset_fields:
        return _RouteProblem(
            f"channel {channel.name}: a variable in `{unset_fields[0]}` is not set here"
        )
    server = parse_smtp_url(values.get("url") or "")
    if isinstance(server, SmtpUrlProblem):
        return _RouteProblem(f"channel {channel.name}: {server.reason}")
    mailbox = parse_mailbox(email.sender)
    if mailbox is None:
        return _RouteProblem(f"channel {channel.name}: `from` is not an e-mail address")
    password = values.get("password")
    if password is not None and not server.keeps_secrets:
        return _RouteProblem(f"channel {channel.name}: a password would be sent in clear")
    login = Login(email.user or "", password) if password is not None else None
    pem = values.get("dkim.key")
    links = values.get("links")
    sender = Sender(
        mailbox=mailbox,
        reply_to=email.reply_to,
        links=links.rstrip("/") if links else None,
        tracks_opens="opens" in email.track,
        tracks_clicks="clicks" in email.track,
        dkim=_dkim_key(email.dkim, pem, mailbox.domain) if email.dkim and pem else None,
    )
    return_path = parse_mailbox(email.return_path) if email.return_path else None
    return _Route(
        Mailer(server, login, email.connections),
        sender,
        (return_path or mailbox).addr_spec,
        email.per_second,
    )


def _dkim_key(dkim: Dkim, pem: str, domain: str) -> DkimKey:
    """Return the key, which a variable may hold on one line, with `\\n` for line breaks."""
    return DkimKey(dkim.selector, dkim.domain or domain, pem.replace("\\n", "\n").encode())


def _reason(error: Exception) -> str:
    """Describe a failure for the outcome, without texts of servers, which may contain addresses."""
    name = type(error).__name__
    match error:
        case SMTPResponseException():
            return f"{name}: status {error.code} {enhanced_status(error.message) or ''}".strip()
        case TemporaryAnswerError():
            return str(error)
        case OSError(strerror=str(detail)):
            return f"{name}: {detail}"
    return name
