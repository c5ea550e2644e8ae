"""Which segments hold now."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.conditions import Facts
from pipeline.config.compile import Configuration
from pipeline.model.interaction import Interaction, Scalar


@dataclass(frozen=True, slots=True)
class Change:
    """Memberships before and after; the names in each are sorted where they are published."""

    before: frozenset[str]
    after: frozenset[str]

    @property
    def entered(self) -> tuple[str, ...]:
        return tuple(sorted(self.after - self.before))

    @property
    def exited(self) -> tuple[str, ...]:
        return tuple(sorted(self.before - self.after))


def evaluate(
    before: frozenset[str],
    traits: Mapping[str, Scalar],
    interaction: Interaction | None,
    now_ms: int,
    config: Configuration,
) -> Change:
    """Segments in dependency order. Without an interaction, those reading one stay as they were."""
    members: set[str] = set()
    facts = Facts(interaction, traits, members, frozenset(), now_ms)
    for segment in config.segments:
        if interaction is None and segment.reads_interaction:
            holds = segment.name in before
        else:
            holds = segment.test(facts)
        if holds:
            members.add(segment.name)
    return Change(before, frozenset(members))
