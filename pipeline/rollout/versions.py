"""What each version of the configuration began to keep, and let go of, by the log of them all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from pipeline.config.compile import Configuration
from pipeline.enrichment.beginning import Beginning
from pipeline.model.time import GRACE_MS

LET_GO_AFTER_MS: Final = GRACE_MS
"""So long what it has no more is kept, so that taking a change back costs nothing."""


@dataclass(frozen=True, slots=True)
class Version:
    """A configuration and when (ms) it was applied."""

    config: Configuration
    applied_at: int

    @property
    def kept(self) -> frozenset[str]:
        """The keys of its keeps, and the names of its sequences."""
        return frozenset(self.config.keeps.by_key).union(one.name for one in self.config.sequences)


def beginning(versions: Sequence[Version]) -> Beginning:
    """What the newest of `versions` (oldest first, one at least) begins. The first of all begins
    nothing, for there is nothing before it."""
    *before, newest = versions
    known = before[-1].kept if before else newest.kept
    new = newest.config.keeps.by_key.keys() - known
    return Beginning(newest.applied_at, tuple(sorted(new)), tuple(sorted(let_go(versions))))


def let_go(versions: Sequence[Version]) -> frozenset[str]:
    """What the newest lets go of: no version has had it for long."""
    ended: dict[str, int] = {}
    for earlier, later in pairwise(versions):
        ended.update(dict.fromkeys(earlier.kept - later.kept, later.applied_at))
    newest = versions[-1]
    return frozenset(
        one
        for one, at in ended.items()
        if one not in newest.kept and newest.applied_at - at > LET_GO_AFTER_MS
    )


def fillable(versions: Sequence[Version]) -> frozenset[str]:
    """Of what the newest begins, the keeps and sequences that the log can tell all of: none whose
    earlier part may have been let go of."""
    *before, newest = versions
    new = newest.kept - before[-1].kept if before else frozenset[str]()
    gone = frozenset[str]().union(*(let_go(versions[:count]) for count in range(1, len(versions))))
    return new - gone


def lacking(
    versions: Sequence[Version], keys: frozenset[str]
) -> Callable[[str], frozenset[str] | None]:
    """Says which of `keys` the configuration with a digest has not; None: no version has it."""
    return {one.config.digest: keys - one.kept for one in versions}.get
