"""Actions for the webhook adapter, who takes them, and what comes back as outcomes."""

import asyncio
import re
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from threading import Thread
from typing import Final

import uvloop

from pipeline.adapters.avro import Codec
from pipeline.config import model
from pipeline.model import topics
from pipeline.model.decision import Action
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.time import HOUR_MS
from pipeline.rules.token import Claims, TokenKey
from tests.benchmarks.traffic import CUSTOMERS

_CHANNEL: Final = "email"
_LENGTH: Final = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_TAKEN: Final = b"HTTP/1.1 204 No Content\r\n\r\n"


def bundle(url: str) -> model.Bundle:
    """One channel, whose actions go to `url`."""
    return model.Bundle(
        sources=model.Sources((model.Source("adapters", _CHANNEL, "bench-write-key"),)),
        identity=model.Identity((model.Namespace("email", "lower"),)),
        channels=model.Channels((model.Channel(_CHANNEL, adapter="webhook", url=url),)),
    )


class ActionTraffic:
    """From `actions.email`, keyed by one of 1,000 profiles, to the outcomes in `interactions`."""

    input = topics.actions(_CHANNEL)
    outputs: Sequence[str] = (topics.INTERACTIONS,)

    def __init__(self, codec: Codec, token_key: TokenKey) -> None:
        self._codec = codec
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
        name, customer = f"{self._run}.{index}", f"{self._run}-{index % CUSTOMERS}"
        to = Identifier("email", f"{customer}@example.com")
        claims = Claims(name, name, to, _CHANNEL, "confirmation", "thanks", "thanks-email", at_ms)
        return Action(
            action_id=name,
            decision_id=name,
            event_id=name,
            profile_id=customer,
            identifier=to,
            purpose="transactional",
            campaign=claims.campaign,
            offer=claims.offer,
            treatment=claims.treatment,
            channel=_CHANNEL,
            placement=None,
            address=to.value,
            content={"text": f"Order {index}"},
            created_at=at_ms,
            deadline_at=at_ms + HOUR_MS,
            token=self._token_key.sign(claims),
        )


@contextmanager
def receiver() -> Iterator[str]:
    """Takes every post at once; its URL."""
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]] = Future()

    async def serve() -> None:
        ended = asyncio.Event()
        server = await asyncio.start_server(_take, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        started.set_result((asyncio.get_running_loop(), ended, port))
        await ended.wait()
        server.close()

    def run() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve())

    thread = Thread(target=run, name="receiver")
    thread.start()
    loop, ended, port = started.result()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()


async def _take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            await reader.readexactly(int(length[1]) if length else 0)
            writer.write(_TAKEN)
    writer.close()
