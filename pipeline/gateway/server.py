"""The gateway as a process: its connections to Kafka, its socket, and a graceful end."""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable
from typing import Final

import uvicorn
import uvloop
from starlette.applications import Starlette

from pipeline.adapters.avro import open_codec
from pipeline.adapters.config_log import ConfigurationLog
from pipeline.adapters.kafka import Publisher
from pipeline.adapters.run_state import announce, withdraw
from pipeline.decisioning.token import TokenKey
from pipeline.gateway.app import create_app
from pipeline.gateway.gateway import Gateway, Limits
from pipeline.gateway.late import LateReplies
from pipeline.gateway.metrics import Metrics
from pipeline.gateway.readiness import Readiness
from pipeline.gateway.replies import ReplyReader, Waiting
from pipeline.model import topics
from pipeline.settings import Settings

_log = logging.getLogger(__name__)

_BACKLOG: Final = 2048
_GRACE_S: Final = 15
_START_S: Final = 30.0


class PortTakenError(Exception):
    """Raised when the port cannot be listened on; the message says what to do."""


def run(settings: Settings, instance: str) -> int:
    """Serves until SIGTERM or SIGINT, requests in flight included. The exit code: 0, or 1 when
    the connection to Kafka broke for good and the process must be started again.
    """
    listening = _listen(settings.gateway_host, settings.gateway_port)
    with listening, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(settings, instance, listening))


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), backlog=_BACKLOG)
    except OSError as error:
        raise PortTakenError(
            f"cannot listen on {host}:{port} ({error.strerror}): stop what uses the port, "
            "or set KAIROS_GATEWAY_PORT"
        ) from error


async def _serve(settings: Settings, instance: str, listening: socket.socket) -> int:
    ports = {"http": listening.getsockname()[1]}
    announce(settings.home, instance, "starting", ports)
    ending = _Ending()
    gateway = _gateway(settings, instance, ending.broken)
    late = LateReplies(gateway)
    waiting = Waiting(late.expire)
    replies = ReplyReader(settings.kafka(), instance, gateway.codec, waiting)
    readiness = Readiness(gateway, waiting, replies.partitions_of(topics.IDENTITIES))
    replies.start()  # last: librdkafka's metadata call can hang while another thread polls
    server = uvicorn.Server(_options(create_app(gateway, waiting, readiness)))
    ending.watch(server)
    announce(settings.home, instance, "ready", ports)
    _log.info("listening on %s:%s", settings.gateway_host, ports["http"])
    await server.serve([listening])
    announce(settings.home, instance, "stopping", ports)
    await late.close()
    replies.close()
    await gateway.publisher.close()
    withdraw(settings.home, instance)
    return ending.exit_code


def _gateway(settings: Settings, instance: str, broken: Callable[[str], None]) -> Gateway:
    client = settings.kafka()
    codec = open_codec(settings)
    configurations = ConfigurationLog(client, codec)
    configurations.start(_START_S)
    return Gateway(
        instance=instance,
        limits=Limits(
            message_bytes=settings.gateway_message_bytes,
            batch_bytes=settings.gateway_batch_bytes,
            decide_ms=settings.decide_budget_ms,
        ),
        configurations=configurations,
        publisher=Publisher(client, settings.gateway_timeout_ms, broken),
        codec=codec,
        tokens=TokenKey(settings.signing_secret()),
        metrics=Metrics(),
    )


def _options(app: Starlette) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        lifespan="off",
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_S,
    )


class _Ending:
    """Why the process ends: a signal (exit code 0) or a producer that is broken for good (1)."""

    def __init__(self) -> None:
        self.exit_code = 0
        self._server: uvicorn.Server | None = None

    def watch(self, server: uvicorn.Server) -> None:
        """uvicorn ends the server on SIGTERM and SIGINT, then raises the signal once more; by
        then everything is done in order, so that one is left without effect.
        """
        self._server = server
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        if self.exit_code:
            server.should_exit = True

    def broken(self, why: str) -> None:
        """A supervisor starts the process again, with a new producer."""
        _log.critical("the producer cannot write any more: %s", why)
        self.exit_code = 1
        if self._server is not None:
            self._server.should_exit = True
