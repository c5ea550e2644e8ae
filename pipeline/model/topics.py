"""Names of the topics (schemas/README.md describes them)."""

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
LEARNING: Final = "learning"
BUDGETS: Final = "budgets"
COUPONS: Final = "coupons"
CANCELLATIONS: Final = "cancellations"
DEAD_LETTERS: Final = "dead-letters"

SNAPSHOTS: Final = (PROFILES, MEMBERSHIPS)
"""Topics that keep the latest record of each key."""

LINGERING_TOPICS: Final = frozenset(
    (PROFILES, MEMBERSHIPS, SEGMENT_CHANGES, DECISIONS, DEAD_LETTERS)
)
"""Topics whose records may linger for some ms: no stage and no customer waits for them."""

CAUSE_HEADER: Final = "kairos-cause"
"""Header that names the input that a stage's record follows from; records from outside lack it."""

_ACTIONS: Final = "actions."


def actions(channel: str) -> str:
    """Return the action topic of a channel."""
    return _ACTIONS + channel
