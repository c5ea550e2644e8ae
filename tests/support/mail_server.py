"""A real SMTP server that stores accepted messages and gives planned answers."""

import asyncio
import ssl
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from threading import Thread
from typing import Any, cast

from aiosmtpd import smtp
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.providers import to_pem

CUT = "cut the connection"
HANG = "never answer"
USER, PASSWORD = "kairos", "a password"


@dataclass(frozen=True)
class ReceivedMail:
    """Accepted message."""

    sender: str
    recipient: str
    raw: bytes
    session: smtp.Session

    @property
    def message(self) -> EmailMessage:
        return cast(EmailMessage, message_from_bytes(self.raw, policy=default))

    @property
    def action_id(self) -> str:
        return self.message["Message-ID"].strip("<>").partition("@")[0]


@dataclass
class MailServer:
    """SMTP server. `plan` queues answers by stage (mail, rcpt, data, accepted): a line, CUT or
    HANG; without one the message is accepted. Stage `accepted` comes after the message is in
    `mails`; `stages` are those answered so far."""

    mails: list[ReceivedMail] = field(default_factory=list)
    hangs: asyncio.Event = field(default_factory=asyncio.Event)
    stages: list[str] = field(default_factory=list)
    answers: dict[str, deque[str]] = field(default_factory=lambda: defaultdict(deque))

    def plan(self, stage: str, *answers: str) -> None:
        self.answers[stage].extend(answers)

    def session_count(self) -> int:
        return len({id(message.session) for message in self.mails})

    async def handle_MAIL(  # noqa: N802 - a name of aiosmtpd
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return await self._answer("mail", server)

    async def handle_RCPT(  # noqa: N802 - a name of aiosmtpd
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        envelope.rcpt_tos.append(address)
        return await self._answer("rcpt", server)

    async def handle_DATA(  # noqa: N802 - a name of aiosmtpd
        self, server: Any, session: Any, envelope: Any
    ) -> str:
        answer = await self._answer("data", server)
        if answer.startswith("2"):
            [recipient] = envelope.rcpt_tos
            mail = ReceivedMail(envelope.mail_from, recipient, envelope.content, session)
            self.mails.append(mail)
            answer = await self._answer("accepted", server)
        return answer

    async def _answer(self, stage: str, server: Any) -> str:
        self.stages.append(stage)
        answer = self.answers[stage].popleft() if self.answers[stage] else "250 2.0.0 ok"
        if answer == CUT:
            server.transport.abort()
        if answer == HANG:
            self.hangs.set()
            await asyncio.Event().wait()
        return answer

    @asynccontextmanager
    async def listening(
        self, tls: ssl.SSLContext | None = None, *, implicit: bool = False, port: int = 0
    ) -> AsyncIterator[int]:
        """Listen on 127.0.0.1 and provide the port. With `tls` the server requires STARTTLS and a
        login; `implicit`: TLS from the first byte in place of STARTTLS."""
        options: dict[str, Any] = {"hostname": "localhost", "enable_SMTPUTF8": True}
        if tls is not None:
            options |= {"auth_required": True, "authenticator": _authenticate}
            options |= {"auth_require_tls": not implicit}
            if not implicit:
                options |= {"tls_context": tls, "require_starttls": True}
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: smtp.SMTP(self, **options), "127.0.0.1", port, ssl=tls if implicit else None
        )
        async with server:
            yield server.sockets[0].getsockname()[1]


@contextmanager
def serve_mail() -> Iterator[tuple[MailServer, int]]:
    """Serve in a thread during the block; provide the server and its port."""
    server = MailServer()
    endpoint_future: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]] = Future()

    async def serve() -> None:
        end = asyncio.Event()
        async with server.listening() as port:
            endpoint_future.set_result((asyncio.get_running_loop(), end, port))
            await end.wait()

    thread = Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    loop, end, port = endpoint_future.result(30)
    try:
        yield server, port
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join(30)


def _authenticate(
    server: Any, session: Any, envelope: Any, mechanism: str, data: Any
) -> smtp.AuthResult:
    is_known = (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    return smtp.AuthResult(success=is_known)


def write_certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Write a certificate for `localhost` and its key; return a server's context with them, and the
    file of the certificate's signer."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain, key_file = folder / "certificate.pem", folder / "key.pem"
    chain.write_bytes(builder.public_bytes(serialization.Encoding.PEM))
    key_file.write_text(to_pem(key))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key_file)
    return context, chain
