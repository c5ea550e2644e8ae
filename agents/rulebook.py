"""Rules for each record: identity stamps the newest configuration on it, for the later stages.

The versions stamped in a partition never go backwards, not even when another worker takes it over:
a worker's own log only moves forward. A former owner had stopped writing when the partition was
reassigned (its session or lease had ended, or it had given up the partition), so the versions that
it stamped were in the configuration topic by then. After the assignment, and before the first
record, the new owner reads that topic to its end (`catch_up`). So once a probe of a version has
passed a partition, no record passes it with an earlier version. Timers, which a stage stamps
itself, follow the same rule.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from pipeline.adapters.config_follower import ConfigurationFollower
from pipeline.config.compile import Configuration
from pipeline.rules import Rules
from pipeline.rules.knowledge import EMPTY_KNOWLEDGE, Knowledge

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
        knowledge: Callable[[], Knowledge] = lambda: EMPTY_KNOWLEDGE,
        equip: Callable[[Rules], Rules] = lambda rules: rules,
    ) -> None:
        self._log = log
        self._load = load
        self._knowledge = knowledge
        self._equip = equip
        self._compiled_rules: dict[str, Rules] = {}
        self._rules_in_use: dict[str, Rules] = {}
        self.may_decide_differently = False
        """Whether a step may decide differently when an input is redelivered: some rules so far
        draw choices or spend budgets."""

    def refresh(self) -> None:
        """Use the newest models and knowledge from the next record on.

        May be called in any thread.
        """
        self._rules_in_use = {}

    @property
    def newest_digest(self) -> str | None:
        """Digest of the configuration in force; None until one is applied."""
        config = self._log.configuration_in_force()
        return None if config is None else config.digest

    async def find(self, digest: str | None) -> Rules | None:
        """Return the rules of `digest`, or the newest ones for None; None when there are none.

        Raises ConfigurationLogError.
        """
        if digest is None:
            config = self._log.configuration_in_force()
            return None if config is None else self._rules(config)
        rules = self._rules_in_use.get(digest)
        if rules is not None:
            return rules
        configuration = self._log.get(digest)
        if configuration is None:
            await self.catch_up()  # a version is in the topic before records are stamped with it
            configuration = self._log.get(digest)
        return None if configuration is None else self._rules(configuration)

    async def catch_up(self) -> None:
        """Read every version applied so far. Raises ConfigurationLogError."""
        await asyncio.to_thread(self._log.catch_up, _CATCH_UP_TIMEOUT_S)

    def _rules(self, config: Configuration) -> Rules:
        cache = self._rules_in_use
        rules = cache.get(config.digest)
        if rules is None:
            compiled_rules = self._compiled_rules.get(config.digest) or self._load(config)
            self._compiled_rules[config.digest] = compiled_rules
            rules = cache[config.digest] = self._equip(self._with_knowledge(compiled_rules))
        return rules

    def _with_knowledge(self, rules: Rules) -> Rules:
        if rules.config.budgets:
            self.may_decide_differently = True
        learning = rules.config.learning
        if rules.chooser is None or learning is None or learning.fixed_snapshot is not None:
            return rules
        self.may_decide_differently = True
        return replace(rules, chooser=rules.chooser.with_knowledge(self._knowledge()))
