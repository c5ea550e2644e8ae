"""Trial of e-mail: one message through the adapter, to a local server or to one of yours."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final
from uuid import uuid4

from aiosmtpd import smtp

from pipeline.adapters import traces
from pipeline.adapters.clock import now_ms
from pipeline.config.compiled import CompiledChannel
from pipeline.config.model import Email
from pipeline.delivery.channel_adapter import (
    AdapterHost,
    Bounced,
    Delivered,
    DeliveryResult,
    Parcel,
)
from pipeline.delivery.email.adapter import EmailAdapter
from pipeline.delivery.reporter import OutcomeReport, RejectedOutcome
from pipeline.model.decision import Action
from pipeline.model.interaction import Identifier

_NAME: Final = "email"
_HOST: Final = "127.0.0.1"
_SENDER: Final = "Kairos <kairos@localhost.localdomain>"
_DEADLINE: Final = timedelta(seconds=30)
_TEXT: Final = "This message went through the e-mail adapter of Kairos.\n"
_HTML: Final = (
    "<html><head><style>p { color: #333 }</style></head>"
    "<body><p>This message went through the e-mail adapter of <b>Kairos</b>.</p></body></html>"
)


@dataclass
class LocalServer:
    """SMTP server on this machine that keeps what it receives."""

    received: list[bytes] = field(default_factory=list)

    async def handle_DATA(  # noqa: N802 - aiosmtpd names it so
        self, server: smtp.SMTP, session: smtp.Session, envelope: smtp.Envelope
    ) -> str:
        """Keep a message."""
        content: Any = envelope.content
        self.received.append(content)
        return "250 2.0.0 kept"

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Listen on any port meanwhile; provide the server's URL."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: smtp.SMTP(self, hostname=_HOST, enable_SMTPUTF8=True), _HOST, 0
        )
        async with server:
            yield f"smtp://{_HOST}:{server.sockets[0].getsockname()[1]}"


class _NoLedger:
    """Attempt that is not recorded: who tries sees what became of it."""

    def begin(self) -> None:
        """Record nothing."""

    def failed(self) -> None:
        """Record nothing."""


async def send_trial(address: str, server_url: str | None, secret: str) -> str:
    """Send a message to `address`; return what became of it, and the message where it is here."""
    if server_url is not None:
        return _told(await _send(address, server_url, secret))
    local = LocalServer()
    async with local.listening() as url:
        result = await _send(address, url, secret)
    messages = b"\n".join(local.received).decode(errors="replace").replace("\r\n", "\n")
    return f"{_told(result)}\n\n{messages}" if messages else _told(result)


async def _send(address: str, server_url: str, secret: str) -> DeliveryResult:
    email = Email(sender=_SENDER, links="http://127.0.0.1:8765")
    channel = CompiledChannel(_NAME, "email", server_url, None, (), email)
    host = AdapterHost(
        find_channel=lambda _: channel,
        channels=lambda: (channel,),
        token_of=lambda _: None,
        report=_report,
        signing_secret=secret,
        unlink=_unlink,
    )
    adapter = EmailAdapter(host)
    try:
        return await adapter.deliver(_parcel(address), _NoLedger())
    finally:
        await adapter.close()


async def _report(_: OutcomeReport) -> RejectedOutcome | None:
    return None


async def _unlink(_: Identifier, __: Identifier) -> None:
    return None


def _parcel(address: str) -> Parcel:
    at_ms = now_ms()
    action = Action(
        action_id=str(uuid4()),
        decision_id="trial",
        event_id="trial",
        profile_id="trial",
        identifier=Identifier("email", address),
        purpose="service",
        campaign="trial",
        offer="trial",
        treatment="trial",
        channel=_NAME,
        placement=None,
        address=address,
        content={"subject": "A trial", "text": _TEXT, "html": _HTML},
        created_at=at_ms,
        deadline_at=at_ms + round(_DEADLINE.total_seconds() * 1000),
        token="trial",
    )
    return Parcel(action, at_ms, traces.new_trace())


def _told(result: DeliveryResult) -> str:
    match result:
        case Delivered():
            return "accepted by the server"
        case Bounced(status, details):
            return f"refused by the server: {status} {dict(details)}"
    return f"not accepted: {result.last}"
