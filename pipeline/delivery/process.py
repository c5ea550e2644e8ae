"""Process of an adapter: delivers its channels' actions until a signal ends it."""

import asyncio
import logging
import signal
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import uvloop
from aiohttp import ClientSession, DummyCookieJar
from prometheus_client import start_http_server

from pipeline.adapters.avro import Codec
from pipeline.adapters.cancellation_follower import CancellationFollower
from pipeline.adapters.clock import now_ms
from pipeline.adapters.config_follower import ConfigurationFollower
from pipeline.adapters.kafka import AsyncPublisher, OutgoingRecord, Property
from pipeline.adapters.membership import heartbeat_ms
from pipeline.adapters.private_files import make_folder
from pipeline.adapters.run_state import announce, withdraw
from pipeline.delivery.adapters import ADAPTERS
from pipeline.delivery.channel_adapter import AdapterHost
from pipeline.delivery.channels import ConfiguredChannels
from pipeline.delivery.courier import Courier
from pipeline.delivery.dispatcher import Dispatcher
from pipeline.delivery.inbox import Inbox
from pipeline.delivery.lanes import Lanes
from pipeline.delivery.ledger import Ledger
from pipeline.delivery.reporter import Reporter
from pipeline.home.channel_faults import ChannelFaults
from pipeline.home.codec import open_codec
from pipeline.identity.requests import unlink
from pipeline.model import topics
from pipeline.model.interaction import Identifier
from pipeline.settings import Settings

_log = logging.getLogger(__name__)

_START_S: Final = 30.0
_GRACE_S: Final = 5.0
_PRODUCE_MS: Final = 30_000


@dataclass(frozen=True, slots=True)
class Role:
    """Role of a process: its adapter and names.

    `name`: in the list of processes, and of the member of the consumer group `group`. Each
    `instance` has its own ledger.
    """

    adapter: str
    name: str
    group: str
    instance: str


def run(settings: Settings, role: Role) -> None:
    """Deliver until SIGTERM or SIGINT. Raises when the process cannot continue."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, role))


async def _serve(settings: Settings, role: Role) -> None:
    announce(settings.home, role.name, "starting")
    client, codec = settings.kafka(), open_codec(settings)
    configurations = ConfigurationFollower(client, codec)
    configurations.start(_START_S)
    cancellations = CancellationFollower(client, codec)
    cancellations.start(_START_S)
    channels = ConfiguredChannels(role.adapter, settings, configurations)
    channels.check()
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    faults = ChannelFaults.of_process(settings.home, role.name)
    folder = settings.home / "state" / "adapters" / role.adapter / role.instance
    make_folder(settings.home, folder)
    ledger = Ledger(folder)
    publisher = AsyncPublisher(
        client, _PRODUCE_MS, lambda failure: _fail(ended, RuntimeError(failure))
    )
    try:
        async with ClientSession(cookie_jar=DummyCookieJar()) as http:
            reporter = Reporter(http, channels.gateway)
            host = AdapterHost(
                find_channel=channels.find,
                channels=channels.all,
                token_of=ledger.token_of,
                report=lambda outcome: reporter.report(msgspec.json.encode(outcome)),
                signing_secret=settings.signing_secret(),
                unlink=partial(_unlink, publisher, codec),
                faults=faults,
            )
            async with (
                ADAPTERS[role.adapter](host) as adapter,
                asyncio.TaskGroup() as group,
            ):
                courier = Courier(adapter, ledger, reporter, cancellations.reason)
                dispatcher = Dispatcher(role.adapter, courier, codec, publisher, Lanes(group))
                inbox = Inbox(
                    _membership(settings, role),
                    dispatcher.progress,
                    channels.topics,
                    dispatcher.receive,
                    lambda error: _fail(ended, error),
                )
                await _deliver_until(ended, settings.home, role.name, inbox, dispatcher.lanes)
    finally:
        await publisher.close()
        ledger.close()
        cancellations.stop()
        configurations.stop()
        faults.close()
        withdraw(settings.home, role.name)


async def _deliver_until(
    ended: "asyncio.Future[None]", home: Path, name: str, inbox: Inbox, lanes: Lanes
) -> None:
    inbox.start()
    ports = {"metrics": start_http_server(0, "127.0.0.1")[0].server_port}
    announce(home, name, "ready", ports)
    await _wait_for_end(ended)
    announce(home, name, "stopping", ports)
    inbox.stop_reading()
    await lanes.drain(_GRACE_S)
    await inbox.close()


async def _unlink(
    publisher: AsyncPublisher, codec: Codec, identifier: Identifier, other: Identifier
) -> None:
    """Ask the identity stage to unlink `one` from `other`.

    A request that Kafka does not acknowledge is repeated when the address fails again.
    """
    change = unlink(identifier, other, now_ms())
    value = codec.encode(topics.IDENTITIES, change)
    failure = await publisher.publish([OutgoingRecord(topics.IDENTITIES, change.identifier, value)])
    if failure is not None:
        _log.warning(
            "an expired address is not unlinked, since Kafka did not acknowledge the request: %s",
            failure.detail,
        )


def _membership(settings: Settings, role: Role) -> dict[str, Property]:
    """Return the settings of a static member, which keeps its partitions across a kill."""
    return {
        **settings.kafka(),
        "group.id": role.group,
        "group.instance.id": role.name,
        "session.timeout.ms": settings.session_timeout_ms,
        "heartbeat.interval.ms": heartbeat_ms(settings.session_timeout_ms),
    }


async def _wait_for_end(ended: "asyncio.Future[None]") -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _end, ended)
    await ended


def _end(ended: "asyncio.Future[None]") -> None:
    if not ended.done():
        ended.set_result(None)


def _fail(ended: "asyncio.Future[None]", error: Exception) -> None:
    if not ended.done():
        ended.set_exception(error)
