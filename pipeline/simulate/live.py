"""World played to a stack: its events go to the gateway, its customers react to the answers.

World time is compressed: events follow each other at a fixed rate, and happen when they are sent.
Here the stack decides, so the world sends no messages of its own.
"""

import asyncio
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from pipeline.adapters.config_files import load, read_write_keys
from pipeline.adapters.gateway_client import GatewayClient, GatewayRefusedError
from pipeline.adapters.learning_follower import LearningFollower
from pipeline.adapters.mailbox import Mailbox, serve
from pipeline.config.keys import expand_variables
from pipeline.config.model import Bundle
from pipeline.home.codec import open_codec
from pipeline.model.learning import SNAPSHOT
from pipeline.settings import Settings
from pipeline.simulate.audience import Audience, LearnedTreatment, PlayReport
from pipeline.simulate.events import SOURCES, WorldEvent
from pipeline.simulate.sorting import SortedLines
from pipeline.simulate.world import WorldSize, customer_life
from pipeline.stack.control import gateway_url

CONFIGURATION: Final = Path(__file__).parents[2] / "deploy" / "bank"

_LOCAL_HOSTS: Final = ("127.0.0.1", "localhost", "::1")
_CONNECTION_COUNT: Final = 8
_MAX_IN_FLIGHT: Final = 500
_LOOK_S: Final = 0.1
_RECEPTION_S: Final = 5.0
"""Time after the last event for which e-mails and calls are still received."""

_HELD_OUT_LABEL: Final = "(held out)"
_EVENT_DECODER: Final = msgspec.json.Decoder(WorldEvent)
_ENCODER: Final = msgspec.json.Encoder()


class NotTheBankError(Exception):
    """Raised when the stack cannot be played to; the message names the remedy."""


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """Options of a play. `rate`: events per second; `seconds`: time limit, or None for the whole
    world. `progress` gets the number of events sent and their total."""

    rate: float
    seconds: float | None
    progress: Callable[[int, int], None]


def play(settings: Settings, size: WorldSize, options: LiveOptions) -> PlayReport:
    """Play the world to the stack of this home.

    Raises StackError without a gateway, NotTheBankError if it has another configuration or the port
    of the bank's mailbox is taken, LearningLogError if the evidence cannot be read.
    """
    report = PlayReport(gateway_url(settings))
    with SortedLines() as log, _explain_refusal():
        for index in range(size.customers):
            for event in customer_life(size, index, policy=False).events:
                log.add(event.at, _ENCODER.encode(event))
        script = _Script(map(_EVENT_DECODER.decode, log), len(log))
        asyncio.run(_perform(size, script, options, report))
    report.treatments.extend(_read_evidence(settings))
    return report


def _read_evidence(settings: Settings) -> list[LearnedTreatment]:
    """Return the stack's evidence so far, by campaign and treatment; empty without a snapshot.

    Raises LearningLogError.
    """
    follower = LearningFollower(settings.kafka(), open_codec(settings))
    follower.start()
    follower.stop()
    snapshot = follower.newest_records().get(SNAPSHOT)
    counts: defaultdict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for posterior in () if snapshot is None else snapshot.posteriors:
        count = counts[posterior.campaign, posterior.treatment or _HELD_OUT_LABEL]
        count[0] += posterior.tried
        count[1] += posterior.reached
    return [LearnedTreatment(*name, *count) for name, count in sorted(counts.items())]


@dataclass(frozen=True, slots=True)
class _Script:
    """Events in the order of time, with their number."""

    events: Iterable[WorldEvent]
    count: int


@contextmanager
def _explain_refusal() -> Iterator[None]:
    """Turn a refusal by the gateway into a NotTheBankError with the remedy."""
    try:
        yield
    except ExceptionGroup as group:
        refusals = group.subgroup(GatewayRefusedError)
        if refusals is None:
            raise
        remedy = "does this home run deploy/bank? `kairos up --config deploy/bank`"
        raise NotTheBankError(f"{_first_error(refusals)}; {remedy}") from None


def _first_error(group: BaseExceptionGroup[Exception]) -> BaseException:
    inner = group.exceptions[0]
    return _first_error(inner) if isinstance(inner, BaseExceptionGroup) else inner


async def _perform(
    size: WorldSize, script: _Script, options: LiveOptions, report: PlayReport
) -> None:
    keys = read_write_keys(CONFIGURATION)
    clients = {
        channel: GatewayClient(report.url, keys[source], _CONNECTION_COUNT)
        for channel, source in SOURCES.items()
    }
    mailbox = Mailbox()
    mailbox.gate.set()
    async with AsyncExitStack() as stack:
        for client in clients.values():
            stack.push_async_callback(client.close)
        for port in _mailbox_ports():
            try:
                await stack.enter_async_context(serve(mailbox, port))
            except OSError as error:
                message = f"port {port} for the bank's e-mails and calls cannot be opened"
                remedy = "set KAIROS_BANK_WEBHOOK to another, for `kairos up` too"
                raise NotTheBankError(f"{message} ({error.strerror}): {remedy}") from error
        audience = Audience(size, clients, report)
        async with asyncio.TaskGroup() as tasks:
            reader = tasks.create_task(_pass_messages(mailbox, audience, tasks))
            await _Pace(tasks, audience, options).send_all(script, report)
            await asyncio.sleep(_RECEPTION_S)
            reader.cancel()


async def _pass_messages(mailbox: Mailbox, audience: Audience, tasks: asyncio.TaskGroup) -> None:
    """Pass e-mails and calls to their customers as they arrive."""
    while True:
        for action in mailbox.take():
            tasks.create_task(audience.receive(action))
        await asyncio.sleep(_LOOK_S)


class _Pace:
    """Pace of events: sends them at their rate without waiting for answers, up to
    `_MAX_IN_FLIGHT` at a time, and each customer's events one after the other."""

    def __init__(self, tasks: asyncio.TaskGroup, audience: Audience, options: LiveOptions) -> None:
        self._tasks = tasks
        self._audience = audience
        self._options = options
        self._room = asyncio.Semaphore(_MAX_IN_FLIGHT)
        self._latest_tasks: dict[int, asyncio.Task[None]] = {}

    async def send_all(self, script: _Script, report: PlayReport) -> None:
        """Begin to send each event at its time; return after the last one, or at the time limit."""
        start_s, seconds = time.monotonic(), self._options.seconds
        for number, event in enumerate(script.events):
            offset_s = number / self._options.rate
            if seconds is not None and max(offset_s, time.monotonic() - start_s) >= seconds:
                return
            await asyncio.sleep(max(0.0, start_s + offset_s - time.monotonic()))
            await self._room.acquire()
            previous_task = self._latest_tasks.get(event.person)
            self._latest_tasks[event.person] = self._tasks.create_task(
                self._send(event, previous_task)
            )
            self._options.progress(number + 1, script.count)
        report.finished = True

    async def _send(self, event: WorldEvent, previous_task: "asyncio.Task[None] | None") -> None:
        try:
            if previous_task is not None:
                await asyncio.wait((previous_task,))
            await self._audience.send(event)
        finally:
            self._room.release()
            if self._latest_tasks.get(event.person) is asyncio.current_task():
                del self._latest_tasks[event.person]


def _mailbox_ports() -> frozenset[int]:
    """Return the ports of this machine to which the bank's channels post."""
    bundle = load(CONFIGURATION)
    if not isinstance(bundle, Bundle):
        raise NotTheBankError("; ".join(map(str, bundle)))
    templates = [channel.url for channel in bundle.channels.channels if channel.url is not None]
    urls = [
        urlsplit(url) for template in templates if (url := expand_variables(template, os.environ))
    ]
    return frozenset(url.port for url in urls if url.port and url.hostname in _LOCAL_HOSTS)
