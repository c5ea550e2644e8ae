"""Record class of each topic, and the subjects of its schema.

All `actions.<channel>` topics share the schema `actions`, and `probes` that of `identities`.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct

from pipeline.model import topics
from pipeline.model.budget import BudgetRecord
from pipeline.model.configuration import ConfigurationRecord
from pipeline.model.coupon import CouponRecord
from pipeline.model.dead_letter import DeadLetterRecord
from pipeline.model.decision import Action, Cancellation, Decision, Reply
from pipeline.model.identity import IdentityChange
from pipeline.model.interaction import Interaction
from pipeline.model.learning import LearningRecord
from pipeline.model.profile import Memberships, Profile, SegmentChange
from pipeline.model.stages import Enriched, Identified, Segmented

ACTIONS: Final = "actions"

CLASSES: Final[Mapping[str, type[Struct]]] = {
    topics.INTERACTIONS: Interaction,
    topics.IDENTITIES: IdentityChange,
    topics.IDENTIFIED: Identified,
    topics.ENRICHED: Enriched,
    topics.SEGMENTED: Segmented,
    topics.PROFILES: Profile,
    topics.MEMBERSHIPS: Memberships,
    topics.SEGMENT_CHANGES: SegmentChange,
    topics.DECISIONS: Decision,
    ACTIONS: Action,
    topics.REPLIES: Reply,
    topics.CONFIGURATION: ConfigurationRecord,
    topics.LEARNING: LearningRecord,
    topics.BUDGETS: BudgetRecord,
    topics.COUPONS: CouponRecord,
    topics.CANCELLATIONS: Cancellation,
    topics.DEAD_LETTERS: DeadLetterRecord,
}
"""Record class of each schema, by name."""


def schema_name(topic: str) -> str:
    """Return the name of the topic's schema: `actions` for `actions.web`; usually the topic's
    name."""
    if topic == topics.PROBES:
        return topics.IDENTITIES
    return ACTIONS if topic.startswith(topics.actions("")) else topic


def subject(topic: str) -> str:
    """Return the registry's subject for the values of a topic."""
    return f"{topic}-value"


def subjects(name: str, channels: Iterable[str]) -> tuple[str, ...]:
    """Return all subjects of a schema: its own, and those of the other topics that carry it."""
    other_topics: Iterable[str] = ()
    if name == ACTIONS:
        other_topics = map(topics.actions, channels)
    elif name == topics.IDENTITIES:
        other_topics = (topics.PROBES,)
    return tuple(map(subject, (name, *other_topics)))
