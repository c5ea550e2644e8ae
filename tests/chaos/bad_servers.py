"""Receivers for every adapter that refuse, are slow, cut connections before and after they accept
a message, answer nonsense, and repeat their call-backs.

A mail server, a provider and a printer recognise no repeats; another provider, a webhook's receiver
and a push service do. All keep what they accept for the checks of a test.
"""

import asyncio
import hmac
import threading
from asyncio import StreamReader, StreamWriter
from base64 import b64encode
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random
from typing import Any, Final

import aiohttp
import msgspec
from aiohttp import web

from pipeline.delivery.pos.adapter import ASK_STATE, PAPER_END
from pipeline.delivery.push.trial import LocalBrowser
from tests.support.mail_server import CUT, MailServer, ReceivedMail

PROVIDER_SECRET: Final = "a secret of the provider"
ADAPTERS_KEY: Final = "test-adapters-key"
REPORT_KINDS: Final = {"3": "bounce", "7": "complaint"}
"""Kinds of reports on accepted messages, by the last digit of their address."""

PARCEL: Final = "Parcel "
"""Prefix of the customer on a printed receipt."""

_NONSENSE: Final = b"\x00\xff nonsense, not HTTP\r\n\r\n"
_SLOW_S: Final = 1.5
_RETRY_S: Final = 0.3
_MAX_REPEATS: Final = 3


_HEAD: Final = 'Content-Type: multipart/report; report-type={}; boundary="B"\r\n\r\n--B\r\n'
_ORIGINAL: Final = "--B\r\nContent-Type: text/rfc822-headers\r\n\r\n"
_REPORT: Final = {
    "bounce": _HEAD.format("delivery-status")
    + "Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example\r\n\r\n"
    + "Action: failed\r\nStatus: 5.1.1\r\n"
    + _ORIGINAL,
    "complaint": _HEAD.format("feedback-report")
    + "Content-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\nVersion: 1\r\n"
    + _ORIGINAL,
}
"""Reports on a message (RFC 3464, RFC 5965), up to the headers of that message."""


@dataclass(frozen=True, slots=True)
class Mood:
    """Fate of one request: whether it is `slow`, and the faults before and after its
    acceptance."""

    slow: bool = False
    fault_before: str = ""
    fault_after: str = ""


@dataclass
class Weather:
    """Source of one server's moods, by a seed; while `down`, everything is refused."""

    random: Random
    down: bool = False

    def draw(self) -> Mood:
        """Draw the mood for the next request."""
        draw, slow = self.random.random(), self.random.random() < 0.01
        if self.down or draw < 0.08:
            return Mood(slow, fault_before="busy")
        if draw < 0.12:
            return Mood(slow, fault_before="cut")
        if draw < 0.14:
            return Mood(slow, fault_before="nonsense")
        if draw < 0.18:
            return Mood(slow, fault_after="cut")
        if draw < 0.22:
            return Mood(slow, fault_after="error")
        if draw < 0.24:
            return Mood(slow, fault_after="nonsense")
        return Mood(slow)

    async def wait(self, mood: Mood) -> None:
        """Wait for the time of the mood."""
        await asyncio.sleep(_SLOW_S if mood.slow else self.random.random() * 0.02)


class BadMailServer(MailServer):
    """Mail server with the moods of `weather`; addresses that begin with `gone` have no mailbox.
    `give_back` gets each accepted message that bounces or is complained about, with the kind."""

    def __init__(self, weather: Weather, give_back: Callable[[ReceivedMail, str], None]) -> None:
        super().__init__()
        self._weather = weather
        self._give_back = give_back

    async def handle_DATA(  # noqa: N802 - a name of aiosmtpd
        self, server: Any, session: Any, envelope: Any
    ) -> str:
        mail_count = len(self.mails)
        answer = await super().handle_DATA(server, session, envelope)
        for mail in self.mails[mail_count:]:
            kind = REPORT_KINDS.get(mail.recipient.partition("@")[0][-1])
            if kind is not None and mail.session is session:
                self._give_back(mail, kind)
        return answer

    async def handle_RCPT(  # noqa: N802 - a name of aiosmtpd
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        if address.startswith("gone"):
            return "550 5.1.1 nobody is there"
        return await super().handle_RCPT(server, session, envelope, address, options)

    async def _answer(self, stage: str, server: Any) -> str:
        mood = self._weather.draw()
        await self._weather.wait(mood)
        if stage != "accepted":
            if mood.fault_before == "busy":
                return "451 4.3.0 later"
            if mood.fault_before in ("cut", "nonsense"):
                server.transport.abort()
                return CUT
        elif mood.fault_after:
            server.transport.abort()
            return CUT
        return "250 2.0.0 ok"


class BadPrinter:
    """Receipt printer with the moods of `weather`; `parcels`: customers on the paper, also on
    receipts printed in part."""

    def __init__(self, weather: Weather) -> None:
        self.parcels: list[str] = []
        self._weather = weather

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Serve one connection."""
        with suppress(ConnectionError):
            while await self._serve_one(reader, writer):
                pass
        writer.close()

    async def _serve_one(self, reader: StreamReader, writer: StreamWriter) -> bool:
        try:
            receipt = (await reader.readuntil(ASK_STATE)).removesuffix(ASK_STATE)
        except asyncio.IncompleteReadError as error:
            self._print(error.partial)
            return False
        mood = self._weather.draw()
        await self._weather.wait(mood)
        if not receipt:
            if mood.fault_before in ("cut", "nonsense"):
                return False
            writer.write(bytes([PAPER_END if mood.fault_before else 0]))
        else:
            self._print(receipt)
            if mood.fault_after in ("cut", "nonsense"):
                return False
            writer.write(bytes([PAPER_END if mood.fault_after else 0]))
        await writer.drain()
        return True

    def _print(self, receipt: bytes) -> None:
        for line in receipt.decode("cp858").splitlines():
            if PARCEL in line:
                self.parcels.append(line.partition(PARCEL)[2].strip())


@dataclass
class BadServices:
    """Services by HTTP: `/plain` recognises no repeats; `/keyed`, `/hook` and `/push` do. Each
    keeps the bodies that it accepted, by action. The providers post each status and reply until the
    gateway accepts it, and then repeat it, as the mail server does with bounces and complaints
    (`returns`, by action); `open_posts`: number of posts that the gateway has yet to accept."""

    weather: Weather
    gateway: str
    browser: LocalBrowser = field(default_factory=LocalBrowser)
    plain_bodies: defaultdict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    keyed_bodies: defaultdict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    hook_bodies: defaultdict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    push_bodies: defaultdict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    open_posts: int = 0
    posts: int = 0
    reply_senders: set[str] = field(default_factory=set)
    returns: dict[str, str] = field(default_factory=dict)
    client: aiohttp.ClientSession | None = None
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    def app(self) -> web.Application:
        """Return the routes of all services."""
        app = web.Application()
        app.router.add_post("/plain", self._receive_plain_text)
        app.router.add_post("/keyed", self._receive_keyed_text)
        app.router.add_post("/hook", self._receive_hook)
        app.router.add_post("/push/{customer}", self._receive_push)
        return app

    async def _receive_plain_text(self, request: web.Request) -> web.StreamResponse:
        return await self._receive_text(request, "plain", self.plain_bodies)

    async def _receive_keyed_text(self, request: web.Request) -> web.StreamResponse:
        return await self._receive_text(request, "keyed", self.keyed_bodies)

    async def _receive_text(
        self, request: web.Request, name: str, bodies: defaultdict[str, list[Any]]
    ) -> web.StreamResponse:
        body = await request.json()
        mood = self.weather.draw()
        if (answer := await self._refusal(request, mood)) is not None:
            return answer
        is_first = body["reference"] not in bodies
        bodies[body["reference"]].append(body)
        if is_first:
            status = {"status": "delivered"}
            self._report_status(body["callback"], status)
            if body["to"].endswith("5"):
                reply = {"text": "stop", "from": body["to"], "id": body["reference"]}
                self.reply_senders.add(body["to"])
                self._report_status(f"{self.gateway}/v1/providers/{name}", reply)
        return await self._answer(request, mood, 201)

    async def _receive_hook(self, request: web.Request) -> web.StreamResponse:
        mood = self.weather.draw()
        body = await request.read()
        if (answer := await self._refusal(request, mood)) is not None:
            return answer
        self.hook_bodies[request.headers["Idempotency-Key"]].append(body)
        return await self._answer(request, mood, 204)

    async def _receive_push(self, request: web.Request) -> web.StreamResponse:
        if request.match_info["customer"].startswith("gone"):
            return web.Response(status=410)
        mood = self.weather.draw()
        body = await request.read()
        if (answer := await self._refusal(request, mood)) is not None:
            return answer
        subscription_json = msgspec.json.decode(self.browser.read(body))
        self.push_bodies[subscription_json["tag"]].append(
            (request.headers["Topic"], subscription_json)
        )
        return await self._answer(request, mood, 201)

    async def _refusal(self, request: web.Request, mood: Mood) -> web.StreamResponse | None:
        """Return the answer that refuses the request; None if it is accepted."""
        await self.weather.wait(mood)
        if mood.fault_before == "busy":
            status, retry_after = self.weather.random.choice(
                [(503, "0"), (429, "1"), (503, "soon")]
            )
            return web.Response(status=status, headers={"Retry-After": retry_after})
        return self._break(request, mood.fault_before) if mood.fault_before else None

    async def _answer(self, request: web.Request, mood: Mood, status: int) -> web.StreamResponse:
        if mood.fault_after == "error":
            return web.Response(status=500)
        if mood.fault_after:
            return self._break(request, mood.fault_after)
        return web.Response(status=status)

    @staticmethod
    def _break(request: web.Request, fault: str) -> web.StreamResponse:
        assert request.transport is not None
        if fault == "nonsense":
            request.transport.write(_NONSENSE)
            request.transport.close()
        else:
            request.transport.abort()
        return web.Response()

    def give_back(self, mail: ReceivedMail, kind: str) -> None:
        """Post a bounce or complaint on a message."""
        self.returns[mail.action_id] = kind
        token = mail.message["X-Kairos-Token"]
        message = _REPORT[kind] + f"X-Kairos-Token: {token}\r\n\r\n--B--\r\n"
        login = {"Authorization": aiohttp.encode_basic_auth(ADAPTERS_KEY, "")}
        self._begin(f"{self.gateway}/v1/providers/email", message.encode(), login)

    def _report_status(self, url: str, message: dict[str, str]) -> None:
        body = msgspec.json.encode(message)
        signature = b64encode(hmac.new(PROVIDER_SECRET.encode(), body, sha256).digest()).decode()
        self._begin(url, body, {"X-Signature": signature, "Content-Type": "application/json"})

    def _begin(self, url: str, body: bytes, headers: dict[str, str]) -> None:
        self.open_posts += 1
        task = asyncio.ensure_future(self._post(url, body, headers))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _post(self, url: str, body: bytes, headers: dict[str, str]) -> None:
        """Post a message until the gateway accepts it, then repeat it up to twice."""
        repeats = self.weather.random.randint(1, _MAX_REPEATS)
        while repeats:
            self.posts += 1
            if await self._is_accepted(url, body, headers):
                repeats -= 1
            await asyncio.sleep(self.weather.random.random() * _RETRY_S)
        self.open_posts -= 1

    async def _is_accepted(self, url: str, body: bytes, headers: dict[str, str]) -> bool:
        assert self.client is not None
        try:
            async with self.client.post(url, data=body, headers=headers) as answer:
                assert answer.status in (200, 204, 503), (answer.status, await answer.text())
                return answer.status != 503
        except (aiohttp.ClientError, TimeoutError):
            return False


class BadServers:
    """All bad servers, in a thread; `ports`: variables of a configuration."""

    def __init__(self, seed: str, gateway: str) -> None:
        self.weathers = [
            Weather(Random(f"{seed}/{name}")) for name in ("mail", "printer", "services")
        ]
        mail, printer, services = self.weathers
        self.printer = BadPrinter(printer)
        self.services = BadServices(services, gateway)
        self.mail = BadMailServer(mail, self.services.give_back)
        self.ports: dict[str, str] = {}
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> "BadServers":
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        assert self._end is not None
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(30)

    @contextmanager
    def down(self) -> Iterator[None]:
        """Refuse everything during the block."""
        for weather in self.weathers:
            weather.down = True
        try:
            yield
        finally:
            for weather in self.weathers:
                weather.down = False

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        runner = web.AppRunner(self.services.app(), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        printer = await asyncio.start_server(self.printer.serve, "127.0.0.1", 0)
        timeout = aiohttp.ClientTimeout(10)
        async with aiohttp.ClientSession(timeout=timeout) as client, self.mail.listening() as smtp:
            self.services.client = client
            self.ports = {
                "TEST_SMTP_PORT": str(smtp),
                "TEST_SERVICES_PORT": str(runner.addresses[0][1]),
                "TEST_PRINTER_PORT": str(printer.sockets[0].getsockname()[1]),
            }
            self._ready.set()
            await self._end.wait()
        printer.close()
        await runner.cleanup()
