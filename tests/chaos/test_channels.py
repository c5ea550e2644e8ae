"""E-mail and text messages under kills and bad servers: nothing twice, nothing lost.

Servers that recognise no repeats: what they received twice, nobody can take back.
"""

import asyncio
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from aiohttp import web

from pipeline.model import topics
from pipeline.model.decision import Action
from pipeline.model.interaction import Interaction
from tests.support.mail_server import CUT, MailServer
from tests.support.stack import Stack, eventually, running_stack, stopped

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]

CUSTOMERS = 120
KILLS = 6
_CONFIGURATION = Path(__file__).parent / "channels"
_MAIL, _SMS = "adapter-email-0", "adapter-sms-0"


class _BadMailServer(MailServer):
    """Server that refuses for a while, is slow, and cuts connections, also after it has
    accepted."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self._random = random

    async def _answer(self, stage: str, server: Any) -> str:
        await asyncio.sleep(self._random.random() * 0.02)
        draw = self._random.random()
        if draw < 0.05:
            server.transport.abort()
            return CUT
        if draw < 0.15 and stage != "accepted":
            return "451 4.3.0 later"
        return "250 2.0.0 ok"


class _BadProvider:
    """Provider over HTTP with the same faults."""

    def __init__(self, random: Random) -> None:
        self.received: list[str] = []
        self._random = random

    async def send(self, request: web.Request) -> web.Response:
        draw = self._random.random()
        await asyncio.sleep(draw * 0.02)
        if draw < 0.1:
            return web.Response(status=503)
        if draw < 0.15 and request.transport is not None:
            request.transport.abort()
            return web.Response()
        self.received.append((await request.json())["reference"])
        if draw > 0.95 and request.transport is not None:
            request.transport.abort()
        return web.Response(status=500 if draw > 0.9 else 201)


class _Servers:
    """Thread with both servers."""

    def __init__(self) -> None:
        self.mail = _BadMailServer(Random(1))
        self.provider = _BadProvider(Random(2))
        self.ports: dict[str, str] = {}
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> "_Servers":
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        assert self._end is not None
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(30)

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application()
        app.router.add_post("/send", self.provider.send)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with self.mail.listening() as smtp:
            port = runner.addresses[0][1]
            self.ports = {"TEST_SMTP_PORT": str(smtp), "TEST_PROVIDER_PORT": str(port)}
            self._ready.set()
            await self._end.wait()
        await runner.cleanup()


@pytest.fixture
def servers() -> Iterator[_Servers]:
    with _Servers() as servers:
        yield servers


def _send(stack: Stack, customer: int) -> None:
    who = {
        "userId": f"c-{customer}",
        "context": {
            "traits": {"email": f"c{customer}@example.com", "phone": f"+346001{customer:05d}"}
        },
    }
    batch = [{"type": "track", "event": name, **who} for name in ("Order", "Ship")]
    with stack.client("test-app-key") as client:
        assert client.post("/v1/batch", json={"batch": batch}).status_code == 200


def test_message_is_received_once_at_most_and_none_is_lost(
    servers: _Servers, tmp_path: Path
) -> None:
    stack = Stack(tmp_path / "home", _CONFIGURATION, {**servers.ports, "KAIROS_PARTITIONS": "2"})
    random = Random(3)
    with running_stack(stack):
        for customer in range(CUSTOMERS):
            _send(stack, customer)
            if customer % (CUSTOMERS // KILLS) == CUSTOMERS // KILLS - 1:
                stack.restart(random.choice([_MAIL, _SMS]))
        with stopped(stack.process(_MAIL)):
            time.sleep(1)
        stack.restart(_MAIL, _SMS)
        outcomes = eventually(lambda: _all_told(stack), 120)
        received = {
            "mail": Counter(one.action_id for one in servers.mail.received),
            "sms": Counter(servers.provider.received),
        }
    for channel, counts in received.items():
        actions = outcomes[channel]
        assert len(actions) == CUSTOMERS
        assert max(counts.values()) == 1, channel
        assert counts.keys() <= actions.keys()
        for action, told in actions.items():
            assert {one.name for one in told} == {"sent"}, (channel, action)
            unconfirmed = any("unconfirmed" in one.properties for one in told)
            assert action in counts or unconfirmed, (channel, action, "lost")
        confirmed = sum("unconfirmed" not in told[0].properties for told in actions.values())
        print(f"{channel}: {len(counts)} received, {confirmed} confirmed, of {CUSTOMERS}")
        assert confirmed > CUSTOMERS // 2


def _all_told(stack: Stack) -> dict[str, dict[str, list[Interaction]]] | None:
    """Return the outcomes by channel and action, once every action has one."""
    found: dict[str, dict[str, list[Interaction]]] = {}
    outcomes: defaultdict[str, list[Interaction]] = defaultdict(list)
    for _, one in stack.records.every(topics.INTERACTIONS, Interaction):
        if one.kind == "outcome":
            outcomes[str(one.properties["action_id"])].append(one)
    for channel in ("mail", "sms"):
        every = stack.records.every(topics.actions(channel), Action)
        found[channel] = {action.action_id: outcomes[action.action_id] for _, action in every}
        if len(found[channel]) < CUSTOMERS or not all(found[channel].values()):
            return None
    return found
