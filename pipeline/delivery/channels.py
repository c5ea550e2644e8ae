"""What the configuration in force says of an adapter's channels, and the way back."""

import os
from functools import lru_cache
from typing import Final

from pipeline.adapters.config_log import ConfigurationLog
from pipeline.adapters.run_state import announcements
from pipeline.adapters.webhook import Endpoint, Unusable
from pipeline.config.compiled import Channel
from pipeline.config.keys import resolved
from pipeline.config.model import ADAPTERS, Source
from pipeline.config.urls import url_problem
from pipeline.delivery.reporter import Address, NoAddress
from pipeline.model import topics
from pipeline.settings import Settings

ADAPTER: Final = "webhook"
"""The kind of adapter, as channels.yaml names it."""

_GATEWAY: Final = "gateway"


class Channels:
    """Asked each time anew: configurations change, gateways move."""

    def __init__(self, settings: Settings, configurations: ConfigurationLog) -> None:
        self._settings = settings
        self._configurations = configurations
        self._key = settings.adapter_key()

    def check(self) -> None:
        """Raises LookupError when outcomes could never be reported."""
        if self._configurations.latest() is not None and self._source() is None:
            raise LookupError(
                f"sources.yaml has no source named `{ADAPTERS}`, which reports outcomes: "
                "add it and run `kairos config apply`"
            )

    def topics(self) -> list[str]:
        config = self._configurations.latest()
        channels = config.channels.values() if config else ()
        return [topics.actions(one.name) for one in channels if one.adapter == ADAPTER]

    def endpoint(self, name: str) -> Endpoint | Unusable | None:
        config = self._configurations.latest()
        channel = config.channels.get(name) if config else None
        if channel is None or channel.url is None:
            return None
        return _endpoint(channel)

    def gateway(self) -> Address | NoAddress:
        url = self._gateway_url()
        if self._source() is None:
            return NoAddress(f"no configuration has a source named `{ADAPTERS}`")
        if url is None:
            return NoAddress("waiting for a gateway: none runs in this home")
        return Address(url, self._key)

    def _source(self) -> Source | None:
        config = self._configurations.latest()
        return config.source_named(ADAPTERS) if config else None

    def _gateway_url(self) -> str | None:
        """None while its port is any and no gateway says which."""
        if self._settings.gateway_url is not None:
            return self._settings.gateway_url.rstrip("/")
        known = announcements(self._settings.home).get(_GATEWAY)
        port = known.ports.get("http") if known else None
        port = port or self._settings.gateway_port
        return f"http://{self._settings.gateway_host}:{port}" if port else None


def _endpoint(channel: Channel) -> Endpoint | Unusable:
    """Fill in secrets from this process's environment."""
    url = resolved(channel.url or "", os.environ)
    secret = None if channel.secret is None else resolved(channel.secret, os.environ)
    if url is None or (channel.secret is not None and not secret):
        field = "url" if url is None else "secret"
        return Unusable(f"channel {channel.name}: a variable in `{field}` is not set here")
    wrong = _known_problem(url)
    return Endpoint(url, secret) if wrong is None else Unusable(f"channel {channel.name}: {wrong}")


@lru_cache(maxsize=256)
def _known_problem(url: str) -> str | None:
    return url_problem(url)
