"""Aggregates that each version of the configuration begins and drops, by the log of versions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from pipeline.config.compile import Configuration
from pipeline.enrichment.backfill import NewAggregates
from pipeline.model.time import GRACE_MS

UNUSED_RETENTION_MS: Final = GRACE_MS
"""Time for which an unused aggregate is retained, so that a change can be reverted without a
back-fill."""


@dataclass(frozen=True, slots=True)
class Version:
    """Configuration and the time (ms) when it was applied."""

    config: Configuration
    applied_at: int

    @property
    def keys(self) -> frozenset[str]:
        """Keys of its aggregates, and names of its sequences."""
        return frozenset(self.config.aggregates.by_key).union(
            sequence.name for sequence in self.config.sequences
        )


def find_new_aggregates(versions: Sequence[Version]) -> NewAggregates:
    """Return the aggregates that the newest of `versions` (oldest first, at least one) begins.

    The very first version begins nothing, since nothing precedes it.
    """
    *earlier_versions, newest_version = versions
    earlier_keys = earlier_versions[-1].keys if earlier_versions else newest_version.keys
    new_keys = newest_version.config.aggregates.by_key.keys() - earlier_keys
    return NewAggregates(
        newest_version.applied_at, tuple(sorted(new_keys)), tuple(sorted(dropped_keys(versions)))
    )


def dropped_keys(versions: Sequence[Version]) -> frozenset[str]:
    """Return the keys that the newest version drops, because they have been unused for more than
    `UNUSED_RETENTION_MS`."""
    ends: dict[str, int] = {}
    for earlier_version, later_version in pairwise(versions):
        ends.update(
            dict.fromkeys(earlier_version.keys - later_version.keys, later_version.applied_at)
        )
    newest_version = versions[-1]
    return frozenset(
        key
        for key, end_ms in ends.items()
        if key not in newest_version.keys
        and newest_version.applied_at - end_ms > UNUSED_RETENTION_MS
    )


def backfillable_keys(versions: Sequence[Version]) -> frozenset[str]:
    """Return the new keys of the newest version that the log has in full.

    Keys whose earlier part may have been dropped are left out.
    """
    *earlier_versions, newest_version = versions
    new_keys = (
        newest_version.keys - earlier_versions[-1].keys if earlier_versions else frozenset[str]()
    )
    removed_keys = frozenset[str]().union(
        *(dropped_keys(versions[:count]) for count in range(1, len(versions)))
    )
    return new_keys - removed_keys


def missing_keys_by_digest(
    versions: Sequence[Version], keys: frozenset[str]
) -> Callable[[str], frozenset[str] | None]:
    """Return a function from a digest to the subset of `keys` that its version lacks.

    It returns None for a digest that no version has.
    """
    return {version.config.digest: keys - version.keys for version in versions}.get
