"""What the configuration in force says of an adapter's channels, and the way back."""

from typing import Final

from pipeline.adapters.config_log import ConfigurationLog
from pipeline.adapters.run_state import announcements
from pipeline.adapters.webhook import Endpoint
from pipeline.delivery.reporter import Address, NoAddress
from pipeline.model import topics
from pipeline.settings import Settings

ADAPTER: Final = "webhook"
"""The kind of adapter, as channels.yaml names it."""

SOURCE: Final = "adapters"
"""The source of sources.yaml whose write key adapters use."""

_GATEWAY: Final = "gateway"


class Channels:
    """Asked each time anew: configurations change, gateways move."""

    def __init__(self, settings: Settings, configurations: ConfigurationLog) -> None:
        self._settings = settings
        self._configurations = configurations

    def check(self) -> None:
        """Raises LookupError when outcomes could never be reported."""
        if self._configurations.latest() is not None and self._write_key() is None:
            raise LookupError(
                f"sources.yaml has no source named `{SOURCE}`, whose write key adapters need: "
                "add it and run `kairos config apply`"
            )

    def topics(self) -> list[str]:
        config = self._configurations.latest()
        channels = config.channels.values() if config else ()
        return [topics.actions(one.name) for one in channels if one.adapter == ADAPTER]

    def endpoint(self, name: str) -> Endpoint | None:
        config = self._configurations.latest()
        channel = config.channels.get(name) if config else None
        if channel is None or channel.url is None:
            return None
        return Endpoint(channel.url, channel.secret)

    def gateway(self) -> Address | NoAddress:
        key, url = self._write_key(), self._gateway_url()
        if key is None:
            return NoAddress(f"no configuration has a source named `{SOURCE}`")
        if url is None:
            return NoAddress("waiting for a gateway: none runs in this home")
        return Address(url, key)

    def _write_key(self) -> str | None:
        config = self._configurations.latest()
        sources = config.sources.values() if config else ()
        return next((one.write_key for one in sources if one.name == SOURCE), None)

    def _gateway_url(self) -> str | None:
        """None while its port is any and no gateway says which."""
        if self._settings.gateway_url is not None:
            return self._settings.gateway_url.rstrip("/")
        known = announcements(self._settings.home).get(_GATEWAY)
        port = known.ports.get("http") if known else None
        port = port or self._settings.gateway_port
        return f"http://{self._settings.gateway_host}:{port}" if port else None
