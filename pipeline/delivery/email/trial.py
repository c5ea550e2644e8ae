"""Trial of e-mail: one message through the adapter, to a local server or a given one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from aiosmtpd import smtp

from pipeline.config.compiled import CompiledChannel
from pipeline.config.model import Email
from pipeline.delivery.email.adapter import EmailAdapter
from pipeline.delivery.trial_delivery import deliver_trial, trial_host

_HOST: Final = "127.0.0.1"
_SENDER: Final = "Kairos <kairos@localhost.localdomain>"
_TEXT: Final = "This message went through the e-mail adapter of Kairos.\n"
_HTML: Final = (
    "<html><head><style>p { color: #333 }</style></head>"
    "<body><p>This message went through the e-mail adapter of <b>Kairos</b>.</p></body></html>"
)


@dataclass
class LocalServer:
    """SMTP server on this machine that keeps the messages that it accepts."""

    messages: list[bytes] = field(default_factory=list)

    async def handle_DATA(  # noqa: N802 - aiosmtpd names it so
        self, server: smtp.SMTP, session: smtp.Session, envelope: smtp.Envelope
    ) -> str:
        """Keep a message."""
        content: Any = envelope.content
        self.messages.append(content)
        return "250 2.0.0 kept"

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Listen on any port during the context; yield the server's URL."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: smtp.SMTP(self, hostname=_HOST, enable_SMTPUTF8=True), _HOST, 0
        )
        async with server:
            yield f"smtp://{_HOST}:{server.sockets[0].getsockname()[1]}"


async def send_trial(address: str, server_url: str | None, secret: str) -> str:
    """Send a message to `address`; return the result, and the message if the server is local."""
    if server_url is not None:
        return await _send(address, server_url, secret)
    local_server = LocalServer()
    async with local_server.listening() as url:
        result = await _send(address, url, secret)
    messages = b"\n".join(local_server.messages).decode(errors="replace").replace("\r\n", "\n")
    return f"{result}\n\n{messages}" if messages else result


async def _send(address: str, server_url: str, secret: str) -> str:
    email = Email(sender=_SENDER, links="http://127.0.0.1:8765")
    channel = CompiledChannel("email", "email", server_url, None, (), email)
    adapter = EmailAdapter(trial_host(channel, secret))
    content = {"subject": "A trial", "text": _TEXT, "html": _HTML}
    try:
        return await deliver_trial(adapter, channel.name, address, content)
    finally:
        await adapter.close()
