"""Channels of an adapter in the configuration in force, and the gateway for their outcomes."""

from typing import Final

from pipeline.adapters.config_follower import ConfigurationFollower
from pipeline.adapters.run_state import announcements
from pipeline.config.compiled import CompiledChannel
from pipeline.config.model import ADAPTERS, Source
from pipeline.delivery.reporter import GatewayAddress, NoGateway
from pipeline.model import topics
from pipeline.settings import Settings

_GATEWAY: Final = "gateway"


class ConfiguredChannels:
    """Channels of one adapter, looked up at each call, since configurations and gateways change."""

    def __init__(
        self, adapter: str, settings: Settings, configurations: ConfigurationFollower
    ) -> None:
        self._adapter = adapter
        self._settings = settings
        self._configurations = configurations
        self._key = settings.adapter_key()

    def check(self) -> None:
        """Raise LookupError when outcomes could never be reported."""
        if self._configurations.configuration_in_force() is not None and self._source() is None:
            raise LookupError(
                f"sources.yaml has no source named `{ADAPTERS}`, which reports outcomes: "
                "add it and run `kairos config apply`"
            )

    def topics(self) -> list[str]:
        """Return the action topics of the adapter's channels."""
        return [topics.actions(channel.name) for channel in self.all_channels()]

    def all_channels(self) -> list[CompiledChannel]:
        """Return the adapter's channels of the configuration in force."""
        config = self._configurations.configuration_in_force()
        channels = config.channels.values() if config else ()
        return [channel for channel in channels if channel.adapter == self._adapter]

    def find(self, name: str) -> CompiledChannel | None:
        """Return a channel of the configuration in force; None for an unknown name."""
        config = self._configurations.configuration_in_force()
        return config.channels.get(name) if config else None

    def gateway(self) -> GatewayAddress | NoGateway:
        """Return the gateway's address, or the reason why outcomes cannot be reported yet."""
        url = self._gateway_url()
        if self._source() is None:
            return NoGateway(f"no configuration has a source named `{ADAPTERS}`")
        if url is None:
            return NoGateway("waiting for a gateway: none runs in this home")
        return GatewayAddress(url, self._key)

    def _source(self) -> Source | None:
        config = self._configurations.configuration_in_force()
        return config.source_by_name(ADAPTERS) if config else None

    def _gateway_url(self) -> str | None:
        """Return the gateway's URL; None while its port is chosen at its start and none runs."""
        if self._settings.gateway_url is not None:
            return self._settings.gateway_url.rstrip("/")
        announcement = announcements(self._settings.home).get(_GATEWAY)
        port = announcement.ports.get("http") if announcement else None
        port = port or self._settings.gateway_port
        return f"http://{self._settings.gateway_host}:{port}" if port else None
