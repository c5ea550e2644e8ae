"""Faust transport driver for the URL scheme `kairos-kafka`."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import confluent_kafka
from confluent_kafka import KafkaError
from faust.transport.base import Transport as BaseTransport

from agents.transport.admin import TopicAdmin
from agents.transport.conductor import Conductor
from agents.transport.consumer import Consumer
from agents.transport.errors import ClientFatalError, is_fatal
from agents.transport.lease import Lease
from agents.transport.options import TransportOptions
from agents.transport.producer import Producer

SCHEME = "kairos-kafka"

_log = logging.getLogger(__name__)


class Transport(BaseTransport):
    """Factory of consumers and producers, and the place where a worker's failure is recorded.

    Its options are the app's `transport_options`, since a URL cannot hold them.
    """

    Consumer = Consumer
    Producer = Producer
    Conductor = Conductor
    driver_version = f"confluent-kafka={confluent_kafka.__version__}"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.options: TransportOptions = self.app.transport_options  # type: ignore[attr-defined]
        self.admin = TopicAdmin(self.options.admin_settings())
        self.lease = Lease(self.options.lease_ms / 1000)
        self.failure: BaseException | None = None
        self.failure_callbacks: list[Callable[[], None]] = []
        """Callbacks for the worker's failure, called in the event loop."""

    def changelog_reader_settings(self) -> dict[str, object]:
        """Return librdkafka's settings for a consumer outside of any group."""
        return self.options.changelog_reader_settings()

    def fail(self, error: BaseException) -> None:
        """End the worker: from now on nothing is sent or committed. Only the first error counts."""
        if self.failure is not None:
            return
        self.failure = error
        _log.error("%s fails: %s", self.app.conf.id, error)
        for callback in self.failure_callbacks:
            callback()
        self._crash = asyncio.ensure_future(self.app.crash(error))

    def on_client_error(self, error: KafkaError) -> None:
        """Log an error of a client; a fatal one ends the worker."""
        if is_fatal(error):
            self.fail(ClientFatalError(error.str()))
        else:
            _log.warning("%s: %s", self.app.conf.id, error.str())
