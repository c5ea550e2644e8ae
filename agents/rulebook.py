"""The rules for each record: identity runs by the newest, later stages by the one it stamped."""

import asyncio
from collections.abc import Callable
from typing import Final

from pipeline.adapters.config_log import ConfigurationLog
from pipeline.config.compile import Configuration
from pipeline.rules import Rules

_PATIENCE_S: Final = 10.0


class Rulebook:
    """Finds rules by digest, waiting for a configuration that is still on its way."""

    def __init__(self, log: ConfigurationLog, load: Callable[[Configuration], Rules]) -> None:
        self._log = log
        self._load = load
        self._known: dict[str, Rules] = {}

    @property
    def newest_digest(self) -> str | None:
        """The configuration in force; None before the first was applied."""
        config = self._log.latest()
        return None if config is None else config.digest

    async def find(self, digest: str | None) -> Rules | None:
        """The rules named by `digest`, or the newest (None); None when there are none in time."""
        if digest is None:
            config = self._log.latest()
            return None if config is None else self._rules(config)
        known = self._known.get(digest)
        if known is not None:
            return known
        wait = asyncio.to_thread(self._log.get, digest, _PATIENCE_S)
        found = await wait
        return None if found is None else self._rules(found)

    def _rules(self, config: Configuration) -> Rules:
        rules = self._known.get(config.digest)
        if rules is None:
            rules = self._load(config)
            self._known[config.digest] = rules
        return rules
