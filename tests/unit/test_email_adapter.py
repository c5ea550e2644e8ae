"""The e-mail adapter against a real SMTP server, with messages parsed back."""

import asyncio
import time
from base64 import b64encode
from contextlib import suppress
from datetime import UTC, datetime
from email import message_from_bytes
from email.headerregistry import Address
from email.policy import default
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import dkim
import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline.adapters import traces
from pipeline.adapters.clock import now_ms
from pipeline.adapters.signed_links import LinkSigner, PreferenceLink, TrackedLink
from pipeline.config.compiled import CompiledChannel
from pipeline.config.model import Dkim, Email
from pipeline.delivery.channel_adapter import (
    Acceptance,
    AdapterHost,
    Bounce,
    DeliveryResult,
    MissedDeadline,
    Parcel,
    UnconfirmedAttempt,
)
from pipeline.delivery.courier import Courier
from pipeline.delivery.email import pool
from pipeline.delivery.email.adapter import EmailAdapter
from pipeline.delivery.email.message import LinkMaker, Sender, compose
from pipeline.delivery.ledger import Ledger
from pipeline.delivery.reporter import OutcomeReport, RejectedOutcome
from pipeline.model.decision import Action
from pipeline.model.ids import action_id
from pipeline.model.interaction import Identifier
from tests.support.attempts import RecordedAttempt
from tests.support.mail_server import CUT, HANG, PASSWORD, USER, MailServer, write_certificate

_NOW = datetime(2026, 11, 30, 1, 2, 3, tzinfo=UTC)


async def ignore_unlink(_: Identifier, __: Identifier) -> None:
    return None


SECRET = "a secret of this test"
LINKS = "https://shop.example"
EMAIL = Email(sender="Tienda Ñandú <hello@shop.example>", links=LINKS)


def _action(number: int = 1, **changes: Any) -> Action:
    created_at = now_ms()
    action = Action(
        action_id=action_id("d", str(number)),
        decision_id="d",
        event_id="e",
        profile_id="p",
        identifier=Identifier("customer_id", "ana"),
        purpose="marketing",
        campaign="spring",
        offer="shoes",
        treatment="shoes-email",
        channel="email",
        placement=None,
        address="ana@example.com",
        content={"subject": "Hola", "text": "Buenos días\n"},
        created_at=created_at,
        deadline_at=created_at + 20_000,
        token="token",
    )
    return replace(action, **changes)


def _host(channel: CompiledChannel) -> AdapterHost:
    async def report(_: OutcomeReport) -> RejectedOutcome | None:
        return None

    return AdapterHost(
        lambda _: channel, lambda: (channel,), lambda _: None, report, SECRET, ignore_unlink
    )


def _run_delivery(url: str, email: Email, *actions: Action) -> list[DeliveryResult]:
    return asyncio.run(_deliver(url, email, *actions))


async def _deliver(url: str, email: Email, *actions: Action) -> list[DeliveryResult]:
    adapter = EmailAdapter(_host(CompiledChannel("email", "email", url, None, (), email)))
    try:
        return [
            await adapter.deliver(
                Parcel(action, action.created_at, traces.new_trace()), RecordedAttempt()
            )
            for action in actions
        ]
    finally:
        await adapter.close()


def _send(server: MailServer, email: Email, *actions: Action) -> list[DeliveryResult]:
    async def run() -> list[DeliveryResult]:
        async with server.listening() as port:
            return await _deliver(f"smtp://127.0.0.1:{port}", email, *actions)

    return asyncio.run(run())


_LINES = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Zl", "Zp")), max_size=200)


@given(subject=_LINES, text=st.lists(_LINES, max_size=5))
def test_message_is_read_back_as_it_was_written(subject: str, text: list[str]) -> None:
    subject = " ".join(subject.split())
    body = "\n".join(["begin", *text])
    action = _action(content={"subject": subject, "text": body}, purpose="transactional")
    mailbox = Address("Tienda Ñandú", addr_spec="hello@shop.example")
    sender = Sender(mailbox, None, LINKS, False, False, None)
    mail = compose(action, Address(addr_spec="a@b.example"), sender, LinkMaker(SECRET), _NOW)
    assert mail.isascii()
    assert max(map(len, mail.split(b"\r\n"))) <= 998
    message = message_from_bytes(mail, policy=default)
    assert message["Subject"] == subject
    assert _lines(message.get_content()) == _lines(body)
    assert message["Date"].datetime == _NOW
    assert message["List-Unsubscribe"] is None


def _lines(text: str) -> list[str]:
    return text.replace("\r\n", "\n").rstrip("\n").split("\n")


def test_message_arrives_with_the_id_of_its_action() -> None:
    server, action = MailServer(), _action()
    assert _send(server, EMAIL, action) == [Acceptance()]
    [message] = server.mails
    assert (message.sender, message.recipient) == ("hello@shop.example", "ana@example.com")
    assert message.action_id == action.action_id
    assert str(message.message["From"]) == "Tienda Ñandú <hello@shop.example>"
    assert "Buenos días" in message.message.get_content()


def test_marketing_can_be_unsubscribed_by_one_click_and_in_both_bodies() -> None:
    server = MailServer()
    html = "<html><head><style>b{color:red}</style></head><body><b>¡Hola!</b></body></html>"
    action = _action(content={"subject": "s", "text": "t", "html": html, "unsubscribe": "Baja"})
    assert _send(server, EMAIL, action) == [Acceptance()]
    message = server.mails[0].message
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    url = message["List-Unsubscribe"].strip("<>")
    assert url.startswith(f"{LINKS}/v1/unsubscribe?")
    [token] = parse_qs(urlsplit(url).query)["t"]
    assert LinkSigner(SECRET, PreferenceLink).verify(token) == PreferenceLink(
        action.identifier, "email", "marketing", "spring", action.action_id
    )
    assert LinkSigner(SECRET, TrackedLink).verify(token) is None
    assert LinkSigner("another", PreferenceLink).verify(token) is None
    text, page = message.iter_parts()
    assert f"Baja: {url}" in text.get_content()
    assert '<b style="color: red;">¡Hola!</b>' in page.get_content()
    assert f'href="{url}"' in page.get_content()
    assert message["Feedback-ID"] == "spring:email:marketing:shop-example"


def test_links_lead_through_the_gateway_only_where_clicks_are_tracked() -> None:
    html = (
        '<p><a class="x" href="https://shop.example/?a=1&amp;b=2">go</a>'
        '<a href="mailto:x">m</a></p>'
    )
    content = {"subject": "s", "text": "t", "html": html}
    server = MailServer()
    tracking_email = replace(EMAIL, track=("opens", "clicks"))
    assert _send(server, EMAIL, _action(1, content=content)) == [Acceptance()]
    assert _send(server, tracking_email, _action(2, content=content)) == [Acceptance()]
    plain_page, tracked_page = (
        list(mail.message.iter_parts())[1].get_content() for mail in server.mails
    )
    assert "/v1/click" not in plain_page
    assert "/v1/open" not in plain_page
    assert 'href="mailto:x"' in tracked_page
    [click] = [part for part in tracked_page.split('"') if "/v1/click" in part]
    link = LinkSigner(SECRET, TrackedLink).verify(parse_qs(urlsplit(click).query)["t"][0])
    assert link is not None
    assert (link.url, link.token) == ("https://shop.example/?a=1&b=2", "token")
    assert f'<img src="{LINKS}/v1/open?t=' in tracked_page


@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "tls"])
def test_login_and_message_are_encrypted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, implicit: bool
) -> None:
    context, authority = write_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    monkeypatch.setenv("TEST_SMTP_PASSWORD", PASSWORD)
    email = replace(EMAIL, user=USER, password="${TEST_SMTP_PASSWORD}")
    server = MailServer()

    async def run() -> list[DeliveryResult]:
        async with server.listening(context, implicit=implicit) as port:
            scheme = "smtps" if implicit else "smtp+starttls"
            return await _deliver(f"{scheme}://localhost:{port}", email, _action())

    assert asyncio.run(run()) == [Acceptance()]
    assert server.mails[0].session.authenticated


def test_nothing_is_sent_where_encryption_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    server = MailServer()
    brief_action = _action()
    brief_action = replace(brief_action, deadline_at=brief_action.created_at + 500)

    async def run() -> list[DeliveryResult]:
        async with server.listening() as port:
            return await _deliver(f"smtp+starttls://127.0.0.1:{port}", EMAIL, brief_action)

    [result] = asyncio.run(run())
    assert isinstance(result, MissedDeadline)
    assert server.stages == []


@pytest.mark.parametrize(
    ("stage", "answer", "result"),
    [
        (
            "rcpt",
            "550 5.1.1 no such user",
            Bounce(550, {"bounce": "address", "enhanced": "5.1.1"}),
        ),
        ("rcpt", "550 unknown", Bounce(550, {"bounce": "address"})),
        ("mail", "550 go away", Bounce(550, {"bounce": "refused"})),
        ("data", "554 5.7.1 spam", Bounce(554, {"bounce": "refused", "enhanced": "5.7.1"})),
        ("rcpt", "552 5.2.1 off", Bounce(552, {"bounce": "address", "enhanced": "5.2.1"})),
    ],
)
def test_permanent_answer_is_a_bounce_at_once(stage: str, answer: str, result: Bounce) -> None:
    server = MailServer()
    server.plan(stage, answer)
    assert _send(server, EMAIL, _action()) == [result]
    assert server.stages.count(stage) == 1
    assert not server.mails


@pytest.mark.parametrize(
    ("stage", "answer"),
    [
        ("mail", "421 4.7.0 slow down"),
        ("rcpt", "451 4.3.0 later"),
        ("data", "451 4.3.0 later"),
        ("rcpt", "what?"),
        ("data", "what?"),
    ],
)
def test_temporary_answer_is_tried_again_and_sent_once(stage: str, answer: str) -> None:
    server = MailServer()
    server.plan(stage, answer)
    [result] = _send(server, EMAIL, _action())
    # After the data, a nonsensical answer leaves open whether the message was accepted.
    if (stage, answer) == ("data", "what?"):
        assert isinstance(result, UnconfirmedAttempt)
    else:
        assert result == Acceptance()
        assert len(server.mails) == 1


@pytest.mark.parametrize("stage", ["mail", "rcpt"])
def test_connection_cut_before_the_data_is_tried_again(stage: str) -> None:
    server = MailServer()
    server.plan(stage, CUT)
    assert _send(server, EMAIL, _action()) == [Acceptance()]
    assert len(server.mails) == 1


@pytest.mark.parametrize("stage", ["data", "accepted"])
def test_connection_cut_after_the_data_is_not_tried_again(tmp_path: Path, stage: str) -> None:
    # The second courier represents the process that succeeds the first one's.
    server, outcomes = MailServer(), _Outcomes()
    server.plan(stage, CUT)
    action = _action()
    _run_courier(server, outcomes, tmp_path, action)
    _run_courier(server, outcomes, tmp_path, action)
    assert len(server.mails) == (stage == "accepted")
    assert outcomes.names == ["sent"]
    assert server.stages.count("data") == 1


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "accepted"])
def test_process_ended_at_any_stage_sends_at_most_once(tmp_path: Path, stage: str) -> None:
    # The first process ends while the server does not answer; a second one delivers again.
    server, outcomes = MailServer(), _Outcomes()
    action = _action()
    server.plan(stage, HANG)
    _run_courier(server, outcomes, tmp_path, action, until=server.hangs)
    _run_courier(server, outcomes, tmp_path, action)
    is_before_data = stage in ("mail", "rcpt")
    assert len(server.mails) == (stage != "data")
    assert outcomes.names == ["sent"]
    assert ("unconfirmed" in outcomes.reports[0].properties) is not is_before_data


def test_server_that_does_not_answer_in_time_gets_a_message_at_most_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A message is sent again only after a failure before its data: later the server may have it.
    monkeypatch.setattr(pool, "_TIMEOUT_S", 5.0)
    stages = ("mail", "rcpt", "data", "accepted")
    servers = [MailServer() for _ in stages]

    async def send(server: MailServer) -> DeliveryResult:
        async with server.listening() as port:
            url = f"smtp://127.0.0.1:{port}"
            [result] = await _deliver(
                url, EMAIL, _action(deadline_at=_action().created_at + 60_000)
            )
        return result

    async def run() -> list[DeliveryResult]:
        for server, stage in zip(servers, stages, strict=True):
            server.plan(stage, HANG)
        return list(await asyncio.gather(*map(send, servers)))

    results = asyncio.run(run())
    assert results[:2] == [Acceptance()] * 2
    assert all(isinstance(result, UnconfirmedAttempt) for result in results[2:])
    assert [len(server.mails) for server in servers] == [1, 1, 0, 1]
    assert [server.stages.count("data") for server in servers] == [1, 1, 1, 1]


async def _greet_for_ever(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError, asyncio.CancelledError):
        while True:
            writer.write(b"220-still thinking\r\n")
            await writer.drain()
            await asyncio.sleep(0.05)
    writer.close()


async def _say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


@pytest.mark.parametrize("serve", [_greet_for_ever, _say_nothing])
def test_server_that_never_gives_an_answer_is_left_at_the_deadline(
    monkeypatch: pytest.MonkeyPatch, serve: Any
) -> None:
    monkeypatch.setattr(pool, "_TIMEOUT_S", 0.3)

    async def run() -> list[DeliveryResult]:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            urgent_action = _action(deadline_at=_action().created_at + 1_500)
            return await _deliver(f"smtp://127.0.0.1:{port}", EMAIL, urgent_action)

    [result] = asyncio.run(asyncio.wait_for(run(), 60))
    assert isinstance(result, MissedDeadline)
    assert not result.unsure


def test_one_connection_serves_many_messages_and_limits_hold() -> None:
    server = MailServer()
    email = replace(EMAIL, connections=1, per_second=4)
    begin_s = time.monotonic()
    actions = [_action(number) for number in range(9)]
    assert _send(server, email, *actions) == [Acceptance()] * 9
    assert server.session_count() == 1
    assert time.monotonic() - begin_s >= 1.0  # four at once, then four a second
    assert [mail.action_id for mail in server.mails] == [action.action_id for action in actions]


def test_signature_verifies_by_the_published_key(monkeypatch: pytest.MonkeyPatch) -> None:
    private_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private_key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    ).decode()
    monkeypatch.setenv("TEST_DKIM", pem.replace("\n", "\\n"))
    server = MailServer()
    dkim_email = replace(EMAIL, dkim=Dkim(selector="s1", key="${TEST_DKIM}"))
    html = "<p>Ñ " + "long " * 400 + "</p>"
    action = _action(content={"subject": "Ñ", "text": ".\n..\nx", "html": html})
    assert _send(server, dkim_email, action) == [Acceptance()]
    public_key = private_key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    record = b"v=DKIM1; k=rsa; p=" + b64encode(public_key)
    requests: list[bytes] = []

    def dns(name: bytes, timeout: float = 5) -> bytes:
        requests.append(name)
        return record

    raw = server.mails[0].raw
    assert dkim.verify(raw, dnsfunc=dns)
    assert requests == [b"s1._domainkey.shop.example."]
    assert not dkim.verify(raw.replace(b"spring", b"sprung"), dnsfunc=dns)


@pytest.mark.parametrize(
    "address", ["", "nobody", "a@b\r\nBcc: c@d", "a b@c.d", "@x.example", "josé@x.example"]
)
def test_invalid_address_bounces_without_a_connection(address: str) -> None:
    [result] = _run_delivery("smtp://127.0.0.1:1", EMAIL, _action(address=address))
    assert isinstance(result, Bounce)
    assert result.details["bounce"] == "address"


def test_domain_of_another_script_is_reached() -> None:
    server = MailServer()
    assert _send(server, EMAIL, _action(address="jose@bücher.example")) == [Acceptance()]
    assert server.mails[0].recipient == "jose@xn--bcher-kva.example"


class _Outcomes:
    """Gateway that accepts every outcome."""

    def __init__(self) -> None:
        self.reports: list[OutcomeReport] = []

    @property
    def names(self) -> list[str]:
        return [report.outcome for report in self.reports]

    async def report(self, outcome: bytes) -> RejectedOutcome | None:
        self.reports.append(msgspec.json.decode(outcome, type=OutcomeReport))
        return None


def _run_courier(
    server: MailServer,
    outcomes: _Outcomes,
    folder: Path,
    action: Action,
    until: asyncio.Event | None = None,
) -> None:
    """Deliver the action in a courier that represents a process; end it once `until` is set."""

    async def run() -> None:
        async with server.listening() as port:
            channel = CompiledChannel("email", "email", f"smtp://127.0.0.1:{port}", None, (), EMAIL)
            ledger = Ledger(folder / "ledger")
            adapter = EmailAdapter(_host(channel))
            courier = Courier(adapter, ledger, outcomes)  # type: ignore[arg-type]
            parcel = Parcel(action, action.created_at, traces.new_trace())
            work = asyncio.create_task(courier.deliver(parcel))
            try:
                if until is None:
                    assert await work is None
                else:
                    await until.wait()
                    work.cancel()
                    await asyncio.gather(work, return_exceptions=True)
            finally:
                ledger.close()
                await adapter.close()

    asyncio.run(run())
