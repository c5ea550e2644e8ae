"""Process of the gateway: connections to Kafka, listening socket, graceful shutdown."""

import asyncio
import logging
import signal
import socket
from math import ceil
from typing import Final, cast

import uvicorn
import uvloop
from starlette.applications import Starlette

from pipeline.adapters.avro import Codec
from pipeline.adapters.config_follower import ConfigurationFollower
from pipeline.adapters.coupon_codes import CouponCodes
from pipeline.adapters.kafka import AsyncPublisher
from pipeline.adapters.lag import partition_ends
from pipeline.adapters.private_files import make_folder
from pipeline.adapters.run_state import announce, withdraw
from pipeline.adapters.signed_links import MessageLinks
from pipeline.gateway.app import create_app
from pipeline.gateway.connections import (
    ConnectionLimits,
    Guard,
    max_connections_within_descriptors,
)
from pipeline.gateway.coupon_book import CouponDesk, CouponReader
from pipeline.gateway.decide import DecideEndpoint
from pipeline.gateway.decision_admission import DecisionAdmission
from pipeline.gateway.expired_replies import LateReplyExpiry
from pipeline.gateway.gateway import Gateway, Limits
from pipeline.gateway.metrics import Metrics
from pipeline.gateway.profiles import ProfileEndpoints
from pipeline.gateway.readiness import GatewayReadiness
from pipeline.gateway.replies import PendingReplies, ReplyReader
from pipeline.home.codec import open_codec
from pipeline.model import topics
from pipeline.model.time import HOUR_MS
from pipeline.profile_reads.view import View
from pipeline.profile_reads.view_updater import ViewUpdater
from pipeline.rules.token import TokenKey
from pipeline.settings import Settings

_log = logging.getLogger(__name__)

_BACKLOG: Final = 2048
_GRACE_S: Final = 15
_MAX_ANSWER_S: Final = 120.0
"""Longer than the transmission of any answer to a client that reads it."""

_START_S: Final = 30.0


class PortTakenError(Exception):
    """Raised for a port that cannot be opened; the message contains the remedy."""


def run(settings: Settings, instance: str) -> int:
    """Serve until SIGTERM or SIGINT, then finish the requests in flight.

    Return the exit code: 0, or 1 when the process cannot continue and must be restarted.
    """
    listener = _listen(settings.gateway_host, settings.gateway_port)
    with listener, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(settings, instance, listener))


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), backlog=_BACKLOG)
    except OSError as error:
        raise PortTakenError(
            f"cannot listen on {host}:{port} ({error.strerror}): stop what uses the port, "
            "or set KAIROS_GATEWAY_PORT"
        ) from error


async def _serve(settings: Settings, instance: str, listener: socket.socket) -> int:
    ports = {"http": listener.getsockname()[1]}
    announce(settings.home, instance, "starting", ports)
    shutdown = _Shutdown()
    gateway = _open_gateway(settings, instance, shutdown)
    late_replies = LateReplyExpiry(gateway)
    partitions = len(partition_ends(settings.kafka(), topics.INTERACTIONS))
    clock = asyncio.get_running_loop().time
    admission = DecisionAdmission(partitions, settings.decide_budget_ms / 1000, clock)
    gateway.metrics.follow_oldest_decision(admission.oldest_age_s)
    pending_replies = PendingReplies(late_replies.expire, admission.note_reply)
    reply_reader = ReplyReader(settings.kafka(), instance, gateway.codec, pending_replies)
    readiness = GatewayReadiness(
        gateway, pending_replies, reply_reader.partition_count(topics.PROBES)
    )
    profiles = _open_profiles(settings, instance, gateway.codec, shutdown)
    coupons = _start_coupons(settings, instance, gateway.codec, shutdown)
    reply_reader.start()  # last: librdkafka's metadata call can hang while another thread polls
    desk = CouponDesk(CouponCodes(settings.signing_secret()), coupons.book)
    guard = Guard(_connection_limits(settings), gateway.metrics)
    decide = DecideEndpoint(pending_replies, admission)
    app = create_app(gateway, decide, readiness, profiles, desk)
    server = uvicorn.Server(_options(app, guard, settings))
    shutdown.attach(server)
    announce(settings.home, instance, "ready", ports)
    _log.info("listening on %s:%s", settings.gateway_host, ports["http"])
    guard_task = asyncio.create_task(guard.watch())
    await server.serve([listener])
    guard_task.cancel()
    announce(settings.home, instance, "stopping", ports)
    await late_replies.close()
    reply_reader.close()
    profiles.view_updater.close()
    profiles.view.close()
    coupons.close()
    await gateway.publisher.close()
    withdraw(settings.home, instance)
    return shutdown.exit_code


def _open_gateway(settings: Settings, instance: str, shutdown: "_Shutdown") -> Gateway:
    client = settings.kafka()
    codec = open_codec(settings)
    configurations = ConfigurationFollower(client, codec)
    configurations.start(_START_S)
    return Gateway(
        instance=instance,
        limits=Limits(
            message_bytes=settings.gateway_message_bytes,
            batch_bytes=settings.gateway_batch_bytes,
            max_items=settings.gateway_batch_items,
            decide_ms=settings.decide_budget_ms,
            token_ms=settings.token_hours * HOUR_MS,
        ),
        configurations=configurations,
        publisher=AsyncPublisher(client, settings.gateway_timeout_ms, shutdown.fail),
        codec=codec,
        tokens=TokenKey(settings.signing_secret()),
        links=MessageLinks(settings.signing_secret()),
        adapter_key=settings.adapter_key(),
        metrics=Metrics(),
    )


def _open_profiles(
    settings: Settings, instance: str, codec: Codec, shutdown: "_Shutdown"
) -> ProfileEndpoints:
    folder = settings.home / "state" / "gateway" / instance
    make_folder(settings.home, folder)
    view = View(folder, codec)
    view_updater = ViewUpdater(settings.kafka(), view, shutdown.fail)
    view_updater.start()
    return ProfileEndpoints(settings, view, view_updater)


def _start_coupons(
    settings: Settings, instance: str, codec: Codec, shutdown: "_Shutdown"
) -> CouponReader:
    folder = settings.home / "state" / "gateway" / f"{instance}-coupons"
    make_folder(settings.home, folder.parent)
    coupons = CouponReader(settings.kafka(), folder, codec, shutdown.fail)
    coupons.start()
    return coupons


def _connection_limits(settings: Settings) -> ConnectionLimits:
    return ConnectionLimits(
        max_connections=max_connections_within_descriptors(settings.gateway_connections),
        max_per_address=settings.gateway_connections_per_address,
        header_bytes=settings.gateway_header_bytes,
        header_s=settings.gateway_header_timeout_s,
        body_s=settings.gateway_body_timeout_s,
        idle_s=settings.gateway_idle_timeout_s,
        answer_s=_MAX_ANSWER_S,
    )


def _options(app: Starlette, guard: Guard, settings: Settings) -> uvicorn.Config:
    """Make uvicorn's configuration.

    Idle connections are kept longer than the 5 to 60 s of clients: the client must close first, or
    it may send a request on a connection that the gateway is closing.
    """
    return uvicorn.Config(
        app,
        http=cast(type[asyncio.Protocol], guard.protocol),
        backlog=min(_BACKLOG, guard.limits.max_connections),
        lifespan="off",
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_S,
        timeout_keep_alive=ceil(settings.gateway_idle_timeout_s),
    )


class _Shutdown:
    """Shutdown of the process, by a signal (exit code 0) or a permanent failure (1)."""

    def __init__(self) -> None:
        self.exit_code = 0
        self._server: uvicorn.Server | None = None

    def attach(self, server: uvicorn.Server) -> None:
        """Attach the server to stop on failures.

        Ignore SIGTERM and SIGINT where uvicorn does not handle them: it raises them again after
        they have ended the server, when the process is already shutting down in order.
        """
        self._server = server
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        if self.exit_code:
            server.should_exit = True

    def fail(self, reason: str) -> None:
        """End the process with exit code 1, from any thread; a supervisor starts it again."""
        _log.critical("the gateway cannot continue: %s", reason)
        self.exit_code = 1
        if self._server is not None:
            self._server.should_exit = True
