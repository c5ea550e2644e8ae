"""Rules for each record: identity uses the newest version, later stages the one that it stamped.

Versions stamped in a partition never go backwards, across workers too. Within a worker its log only
moves forward. A former owner had stopped writing when the partition was reassigned (its session or
lease had ended, or it had given up the partition), so the versions that it stamped were in the
configuration topic by then. After the assignment, and before the first record, the new owner reads
that topic to its end (`catch_up`). So after a probe has passed a partition with a version, no
record passes it with an earlier one. Timers, which a stage stamps itself, follow the same rule.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from pipeline.adapters.config_follower import ConfigurationFollower
from pipeline.config.compile import Configuration
from pipeline.rules import Rules
from pipeline.rules.knowledge import EMPTY, Knowledge

_CATCH_UP_TIMEOUT_S: Final = 60.0


class Rulebook:
    """Rules by configuration digest; reads more of the log for an unknown digest.

    `load` compiles a configuration, `equip` adds the models in force, and `knowledge` returns the
    newest snapshot of learning.
    """

    def __init__(
        self,
        log: ConfigurationFollower,
        load: Callable[[Configuration], Rules],
        knowledge: Callable[[], Knowledge] = lambda: EMPTY,
        equip: Callable[[Rules], Rules] = lambda rules: rules,
    ) -> None:
        self._log = log
        self._load = load
        self._knowledge = knowledge
        self._equip = equip
        self._loaded: dict[str, Rules] = {}
        self._equipped: dict[str, Rules] = {}
        self.draws = False
        """Whether any rules draw choices or spend budgets, so that a step may decide differently
        when an input is redelivered."""

    def refresh(self) -> None:
        """Use the newest models and knowledge from the next record on; for any thread."""
        self._equipped = {}

    @property
    def newest_digest(self) -> str | None:
        """Digest of the configuration in force; None before the first was applied."""
        config = self._log.latest()
        return None if config is None else config.digest

    async def find(self, digest: str | None) -> Rules | None:
        """Return the rules of `digest`, or the newest (None); None when there are none.

        Raises ConfigurationLogError.
        """
        if digest is None:
            config = self._log.latest()
            return None if config is None else self._rules(config)
        equipped = self._equipped.get(digest)
        if equipped is not None:
            return equipped
        configuration = self._log.get(digest)
        if configuration is None:
            await self.catch_up()  # it was in the topic before any record was stamped with it
            configuration = self._log.get(digest)
        return None if configuration is None else self._rules(configuration)

    async def catch_up(self) -> None:
        """Read every version applied so far. Raises ConfigurationLogError."""
        await asyncio.to_thread(self._log.catch_up, _CATCH_UP_TIMEOUT_S)

    def _rules(self, config: Configuration) -> Rules:
        equipped = self._equipped
        rules = equipped.get(config.digest)
        if rules is None:
            loaded = self._loaded.get(config.digest) or self._load(config)
            self._loaded[config.digest] = loaded
            rules = equipped[config.digest] = self._equip(self._with_knowledge(loaded))
        return rules

    def _with_knowledge(self, rules: Rules) -> Rules:
        if rules.config.budgets:
            self.draws = True
        learning = rules.config.learning
        if rules.chooser is None or learning is None or learning.fixed_snapshot is not None:
            return rules
        self.draws = True
        return replace(rules, chooser=rules.chooser.with_knowledge(self._knowledge()))
