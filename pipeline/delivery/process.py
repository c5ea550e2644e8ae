"""Process of an adapter: delivers its channels' actions until a signal ends it."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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

    `name`: the process's name, also as a member of the consumer group `group`. Each `instance` has
    its own ledger.
    """

    adapter: str
    name: str
    group: str
    instance: str


def run(settings: Settings, role: Role) -> None:
    """Deliver until SIGTERM or SIGINT. Raises when the process cannot continue."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, role))


@dataclass(frozen=True, slots=True)
class _Services:
    """Connections and files of the process; `end` completes when the process is to end."""

    codec: Codec
    channels: ConfiguredChannels
    cancellations: CancellationFollower
    ledger: Ledger
    publisher: AsyncPublisher
    faults: ChannelFaults
    end: "asyncio.Future[None]"

    def host(self, settings: Settings, reporter: Reporter) -> AdapterHost:
        """Return the services of the adapter."""
        return AdapterHost(
            find_channel=self.channels.find,
            channels=self.channels.all_channels,
            token_of=self.ledger.token_of,
            report=lambda outcome: reporter.report(msgspec.json.encode(outcome)),
            signing_secret=settings.signing_secret(),
            unlink=partial(_unlink, self.publisher, self.codec),
            faults=self.faults,
        )


async def _serve(settings: Settings, role: Role) -> None:
    async with (
        _open_services(settings, role) as services,
        ClientSession(cookie_jar=DummyCookieJar()) as http,
    ):
        reporter = Reporter(http, services.channels.gateway)
        async with (
            ADAPTERS[role.adapter](services.host(settings, reporter)) as adapter,
            asyncio.TaskGroup() as group,
        ):
            courier = Courier(adapter, services.ledger, reporter, services.cancellations.reason)
            dispatcher = Dispatcher(
                role.adapter, courier, services.codec, services.publisher, Lanes(group)
            )
            inbox = Inbox(
                _membership(settings, role),
                dispatcher.progress,
                services.channels.topics,
                dispatcher.receive,
                partial(_fail, services.end),
            )
            await _deliver_until(services.end, settings.home, role.name, inbox, dispatcher.lanes)


@asynccontextmanager
async def _open_services(settings: Settings, role: Role) -> AsyncIterator[_Services]:
    announce(settings.home, role.name, "starting")
    client, codec = settings.kafka(), open_codec(settings)
    configurations = ConfigurationFollower(client, codec)
    configurations.start(_START_S)
    cancellations = CancellationFollower(client, codec)
    cancellations.start(_START_S)
    channels = ConfiguredChannels(role.adapter, settings, configurations)
    channels.check()
    end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    faults = ChannelFaults.of_process(settings.home, role.name)
    folder = settings.home / "state" / "adapters" / role.adapter / role.instance
    make_folder(settings.home, folder)
    ledger = Ledger(folder)
    publisher = AsyncPublisher(
        client, _PRODUCE_MS, lambda failure: _fail(end, RuntimeError(failure))
    )
    try:
        yield _Services(codec, channels, cancellations, ledger, publisher, faults, end)
    finally:
        await publisher.close()
        ledger.close()
        cancellations.stop()
        configurations.stop()
        faults.close()
        withdraw(settings.home, role.name)


async def _deliver_until(
    end: "asyncio.Future[None]", home: Path, name: str, inbox: Inbox, lanes: Lanes
) -> None:
    """Deliver until `end`; then give the deliveries in flight `_GRACE_S` to end."""
    inbox.start()
    ports = {"metrics": start_http_server(0, "127.0.0.1")[0].server_port}
    announce(home, name, "ready", ports)
    await _wait_for_end(end)
    announce(home, name, "stopping", ports)
    inbox.stop_reading()
    await lanes.drain(_GRACE_S)
    await inbox.close()


async def _unlink(
    publisher: AsyncPublisher, codec: Codec, identifier: Identifier, other: Identifier
) -> None:
    """Request that the identity stage unlinks `identifier` from `other`.

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


async def _wait_for_end(end: "asyncio.Future[None]") -> None:
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, _finish, end)
    await end


def _finish(end: "asyncio.Future[None]") -> None:
    if not end.done():
        end.set_result(None)


def _fail(end: "asyncio.Future[None]", error: Exception) -> None:
    if not end.done():
        end.set_exception(error)
