"""The rules for each record: identity runs by the newest, later stages by the one it stamped.

What identity stamps in a partition never goes back to an earlier version, whoever works on it: one
worker's log only moves on; and whoever had the partition before had stopped writing when it was
assigned anew (its session or its lease had ended, or it had let go), so that what was stamped
there stood in the topic by then. The next worker reads that to its end, asked for after the
assignment, before it takes the first record (`catch_up`). So once a probe came out of a partition
with a version, nothing comes out of it with an earlier one. Timers, which a stage stamps itself,
follow the same rule: a version that came with a record of the partition is known to its worker,
and to the one after it.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from pipeline.adapters.config_log import ConfigurationLog
from pipeline.config.compile import Configuration
from pipeline.rules import Rules

_PATIENCE_S: Final = 60.0


class Rulebook:
    """Finds rules by digest, reading on where a configuration is still on its way."""

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
        """The rules named by `digest`, or the newest (None); None when there are none.

        Raises ConfigurationLogError.
        """
        if digest is None:
            config = self._log.latest()
            return None if config is None else self._rules(config)
        known = self._known.get(digest)
        if known is not None:
            return known
        found = self._log.get(digest)
        if found is None:
            await self.catch_up()  # it was in the topic before anybody stamped it
            found = self._log.get(digest)
        return None if found is None else self._rules(found)

    async def catch_up(self) -> None:
        """Know every version that was applied by now. Raises ConfigurationLogError."""
        await asyncio.to_thread(self._log.catch_up, _PATIENCE_S)

    def _rules(self, config: Configuration) -> Rules:
        rules = self._known.get(config.digest)
        if rules is None:
            rules = self._load(config)
            self._known[config.digest] = rules
        return rules
