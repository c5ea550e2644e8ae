"""Names of the topics, once (design: the table of topics in schemas/README.md)."""

from typing import Final

INTERACTIONS: Final = "interactions"
IDENTITIES: Final = "identities"
PROBES: Final = "probes"
IDENTIFIED: Final = "interactions.identified"
ENRICHED: Final = "interactions.enriched"
SEGMENTED: Final = "interactions.segmented"
PROFILES: Final = "profiles"
MEMBERSHIPS: Final = "memberships"
SEGMENT_CHANGES: Final = "segments.changes"
DECISIONS: Final = "decisions"
REPLIES: Final = "replies"
CONFIGURATION: Final = "configuration"
DEAD_LETTERS: Final = "dead-letters"

SNAPSHOTS: Final = (PROFILES, MEMBERSHIPS)
"""Topics that keep the latest record of each key."""

LINGERING_TOPICS: Final = frozenset(
    (PROFILES, MEMBERSHIPS, SEGMENT_CHANGES, DECISIONS, DEAD_LETTERS)
)
"""No stage and no customer waits for their records: they may wait for company, some ms."""

CAUSE_HEADER: Final = "kairos-cause"
"""On every record that a stage writes because of an input: which one. What comes from outside has
none."""

_ACTIONS: Final = "actions."


def actions(channel: str) -> str:
    """The action topic of a channel."""
    return _ACTIONS + channel
