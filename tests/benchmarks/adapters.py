"""Traffic for each kind of adapter: its actions, a receiver for them, and the outcomes."""

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import (
    AbstractAsyncContextManager,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from dataclasses import dataclass, field
from threading import Thread
from typing import Any, Final

import uvloop
from py_vapid import Vapid02

from pipeline.adapters.avro import Codec
from pipeline.config import model
from pipeline.config.model.providers import Provider, ProviderAnswer, ProviderRequest
from pipeline.delivery.pos.trial import LocalPrinter
from pipeline.delivery.push.trial import LocalBrowser
from pipeline.model import topics
from pipeline.model.decision import Action
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.time import HOUR_MS
from pipeline.rules.token import Claims, TokenKey
from tests.benchmarks.traffic import CUSTOMERS
from tests.support.mail_server import MailServer

_LENGTH: Final = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_NO_CONTENT: Final = b"HTTP/1.1 204 No Content\r\n\r\n"
_NAMESPACES: Final = ("email", "phone", "push")
KINDS: Final = ("webhook", "email", "sms", "push", "pos")


@dataclass(frozen=True, slots=True)
class AdapterReceiver:
    """Receiver of an adapter's messages: the channel to it, the form of addresses (`{}` stands for
    a number), variables of the adapter's environment, and the provider, if the channel has one."""

    channel: model.Channel
    address: str
    variables: Mapping[str, str] = field(default_factory=dict)
    provider: Provider | None = None

    def bundle(self) -> model.Bundle:
        """Return a configuration with the channel to this receiver alone."""
        return model.Bundle(
            sources=model.Sources((model.Source("adapters", "web", "bench-write-key"),)),
            identity=model.Identity(tuple(map(model.Namespace, _NAMESPACES))),
            channels=model.Channels((self.channel,)),
            providers=() if self.provider is None else (self.provider,),
        )


class ActionTraffic:
    """Traffic from the actions of a receiver's channel, keyed by one of 1,000 profiles, to the
    outcomes in `interactions`."""

    outputs: Sequence[str] = (topics.INTERACTIONS,)

    def __init__(self, codec: Codec, token_key: TokenKey, receiver: AdapterReceiver) -> None:
        self.input = topics.actions(receiver.channel.name)
        self._codec = codec
        self._receiver = receiver
        self._token_key = token_key
        self._run = uuid.uuid4().hex[:12]

    def record(self, index: int, at_ms: int) -> tuple[bytes, bytes]:
        action = self._action(index, at_ms)
        value = self._codec.encode(self.input, action)
        assert value is not None
        return action.profile_id.encode(), value

    def index_of(self, value: bytes) -> int | None:
        outcome = self._codec.decode(topics.INTERACTIONS, value)
        if not isinstance(outcome, Interaction):
            return None
        run, _, index = str(outcome.properties["action_id"]).partition(".")
        return int(index) if run == self._run else None

    def _action(self, index: int, at_ms: int) -> Action:
        channel = self._receiver.channel.name
        name, customer = f"{self._run}.{index}", f"{self._run}-{index % CUSTOMERS}"
        identifier = Identifier("email", f"{customer}@example.com")
        claims = Claims(
            name, name, identifier, channel, "confirmation", "thanks", "thanks-email", at_ms
        )
        return Action(
            action_id=name,
            decision_id=name,
            event_id=name,
            profile_id=customer,
            identifier=identifier,
            purpose="transactional",
            campaign=claims.campaign,
            offer=claims.offer,
            treatment=claims.treatment,
            channel=channel,
            placement=None,
            address=self._receiver.address.replace("{}", f"{index % CUSTOMERS:05d}"),
            content={"text": f"Order {index}", "subject": "Your order", "title": "Your order"},
            created_at=at_ms,
            deadline_at=at_ms + HOUR_MS,
            token=self._token_key.sign(claims),
        )


@contextmanager
def running_receiver(kind: str) -> Iterator[AdapterReceiver]:
    """Run a receiver that answers every message of this kind of adapter at once."""
    browser, printer, mail = LocalBrowser(), LocalPrinter(), MailServer()
    servers: Mapping[str, Callable[[], AbstractAsyncContextManager[str]]] = {
        "email": lambda: _mail_server(mail),
        "pos": printer.listening,
    }
    with _serve_in_thread(servers.get(kind, _http_server)) as url:
        yield _receiver(kind, url, browser)


def _receiver(kind: str, url: str, browser: LocalBrowser) -> AdapterReceiver:
    def channel(**fields: Any) -> model.Channel:
        return model.Channel(kind, **{"adapter": kind, "url": url, **fields})

    match kind:
        case "email":
            email = model.Email("shop@example.com", per_second=1e6, connections=8)
            return AdapterReceiver(channel(email=email), "c{}@example.com")
        case "sms":
            request = ProviderRequest(f"{url}/send", json={"to": "{to}", "text": "{text}"})
            provider = Provider("local", request, ProviderAnswer())
            return AdapterReceiver(
                channel(url=None, provider="local"), "+346001{}", provider=provider
            )
        case "push":
            push = model.Push("${BENCH_VAPID}", "mailto:a@b.example", services=("127.0.0.1",))
            key = Vapid02()
            key.generate_keys()
            variables = {"BENCH_VAPID": key.private_pem().decode()}
            address = browser.subscription(f"{url}/push")
            return AdapterReceiver(channel(url=None, push=push), address, variables)
        case "pos":
            return AdapterReceiver(channel(pos=model.Pos()), "")
        case _:
            return AdapterReceiver(channel(), "c{}@example.com")


@contextmanager
def _serve_in_thread(open_server: Callable[[], AbstractAsyncContextManager[str]]) -> Iterator[str]:
    """Serve in a thread during the block; provide the URL."""
    endpoint_future: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, str]] = Future()

    async def serve() -> None:
        end = asyncio.Event()
        async with open_server() as url:
            endpoint_future.set_result((asyncio.get_running_loop(), end, url))
            await end.wait()

    def run() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve())

    thread = Thread(target=run, name="receiver")
    thread.start()
    loop, end, url = endpoint_future.result()
    try:
        yield url
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join()


@asynccontextmanager
async def _http_server() -> AsyncIterator[str]:
    server = await asyncio.start_server(_answer, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


@asynccontextmanager
async def _mail_server(server: MailServer) -> AsyncIterator[str]:
    async with server.listening() as port:
        yield f"smtp://127.0.0.1:{port}"


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            await reader.readexactly(int(length[1]) if length else 0)
            writer.write(_NO_CONTENT)
    writer.close()
