"""Interactions that a stack has received from one browser."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.model import topics
from pipeline.model.decision import Decision
from pipeline.model.interaction import Interaction
from tests.support.stack import Stack, eventually


@dataclass(frozen=True)
class ReceivedInteractions:
    """Interactions of a cookie in the order of the topic, each event id once."""

    stack: Stack
    cookie: str

    def read_all(self) -> list[Interaction]:
        records = self.stack.records.read_all(topics.INTERACTIONS, Interaction)
        interactions = [
            interaction
            for _, interaction in records
            if any(i.value == self.cookie for i in interaction.identifiers)
        ]
        return list({event.event_id: event for event in interactions}.values())

    def count_by_name(self) -> Counter[str]:
        return Counter(interaction.name for interaction in self.read_all())

    def wait_for(self, name: str, count: int = 1) -> list[Interaction]:
        """Wait until there are `count` interactions of this name, and return them."""

        def look() -> list[Interaction] | None:
            matches = [interaction for interaction in self.read_all() if interaction.name == name]
            return matches if len(matches) >= count else None

        return eventually(look)

    def wait_for_names(self, **minimums: int) -> Counter[str]:
        """Wait until each name has at least this number of interactions; return the counts of all
        names."""

        def look() -> Counter[str] | None:
            counts = self.count_by_name()
            has_all = all(counts[name] >= minimum for name, minimum in minimums.items())
            return counts if has_all else None

        return eventually(look)

    def count_decisions(self, predicate: Callable[[Interaction], bool]) -> Counter[str]:
        """Wait until the stack is idle, and return the number of decisions on each interaction that
        `predicate` accepts."""
        self.stack.wait_until_idle()
        ids = {interaction.event_id for interaction in self.read_all() if predicate(interaction)}
        decisions = self.stack.records.read_all(topics.DECISIONS, Decision)
        return Counter(decision.event_id for _, decision in decisions if decision.event_id in ids)
