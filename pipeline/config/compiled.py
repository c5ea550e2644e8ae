"""Compiled parts of the configuration, with names resolved and conditions compiled."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Final, Literal, Protocol, TypeAlias

from msgspec import Struct

from pipeline.conditions import CompiledCondition, Facts
from pipeline.conditions.compile import Read, Test
from pipeline.config.aggregates import Aggregate
from pipeline.config.model import AggregateRule, Email, Pos, Purpose, Push
from pipeline.config.model.providers import Provider
from pipeline.config.templates import Template
from pipeline.model.interaction import FactValue
from pipeline.model.item import NO_ITEM, ItemValues
from pipeline.model.learning import LearningRecord

Reckon: TypeAlias = Callable[[Facts], float]
"""Function that computes a number for a customer."""

STAGES: Final = ("eligibility", "applicability", "suitability")
"""Stages of the engagement policy, in the order of evaluation."""
ELIGIBILITY: Final = 0
APPLICABILITY: Final = 1
SUITABILITY: Final = 2
AUDIENCE_LABEL: Final = "eligibility/audience"
"""Label of the gate of a campaign's audience."""


@dataclass(frozen=True, slots=True)
class CompiledTrait:
    """Named value, computed by `rule` from its `aggregates`.

    `is_timed`: time alone changes the value and a segment reads it, so that it needs a timer.
    """

    name: str
    rule: AggregateRule
    aggregates: tuple[Aggregate, ...]
    is_timed: bool


@dataclass(frozen=True, slots=True)
class Bucket:
    """Trait that classifies `source_trait` by `thresholds` (ascending).

    `uses_age`: the age (ms) of a time is classified; `is_descending`: buckets are numbered from the
    greatest threshold. `is_timed` as for a trait.
    """

    name: str
    source_trait: str
    thresholds: tuple[float, ...]
    uses_age: bool
    is_descending: bool
    is_timed: bool


@dataclass(frozen=True, slots=True)
class Feature:
    """Number in a trait; `uses_age`: the age in days of a time."""

    trait: str
    uses_age: bool


@dataclass(frozen=True, slots=True)
class CompiledScore:
    """Trait `name` that a model computes from `features`."""

    name: str
    features: tuple[Feature, ...]


@dataclass(frozen=True, slots=True)
class CompiledSequence:
    """Sequence of the first `step_count` of `parts`, in order, within `within_ms`.

    An interaction that fits a later part must not occur. `retention_ms`: age at which an
    interaction no longer matters.
    """

    name: str
    step_count: int
    parts: tuple[Test, ...]
    names: frozenset[str] | None
    within_ms: int
    retention_ms: int


@dataclass(frozen=True, slots=True)
class CompiledSegment:
    """Segment; only interactions of `channels` evaluate it, or of any channel where empty."""

    name: str
    test: Test
    condition: CompiledCondition
    channels: frozenset[str]


@dataclass(frozen=True, slots=True)
class CompiledScope:
    """Scope of a policy: messages that have, in every field of `fields`, one of its names."""

    fields: tuple[tuple[Callable[[object], str | None], frozenset[str | None]], ...]

    def covers(self, message: object) -> bool:
        """Return whether a candidate or a contact is within the scope."""
        for read, names in self.fields:  # noqa: SIM110 - a generator costs three times the loop
            if read(message) not in names:
                return False
        return True


@dataclass(frozen=True, slots=True)
class Gate:
    """Rule of the engagement policy.

    `stage` is the rule's index in `STAGES`, `label` its name in a Decision when it rejects:
    `stage/rule`.
    """

    stage: int
    label: str
    condition: CompiledCondition


@dataclass(frozen=True, slots=True)
class CompiledCampaign:
    """Conditions that all candidates of a campaign share.

    It is valid from `starts_ms` (inclusive) to `ends_ms` (exclusive), where given; `gates` are in
    the order of stages. `defers`: whether messages held back by quiet hours are decided again at
    their end.
    """

    name: str
    purpose: Purpose
    trigger: CompiledCondition
    starts_ms: int | None
    ends_ms: int | None
    gates: tuple[Gate, ...]
    defers: bool = False


@dataclass(frozen=True, slots=True)
class Content:
    """Templates by name of the part.

    `reads`: every name in them, with its reader; `defaults` replace unknown values; where one of
    `needs` is unknown, the treatment is not suitable.
    """

    parts: Mapping[str, Template]
    reads: tuple[tuple[str, Read], ...]
    needs: tuple[tuple[str, Read], ...]
    defaults: Mapping[str, FactValue]


@dataclass(frozen=True, slots=True)
class CompiledConsent:
    """Consent that a customer must have given."""

    name: str
    condition: CompiledCondition


@dataclass(frozen=True, slots=True)
class CompiledWeight:
    """Factor of the score while `condition` holds."""

    name: str
    factor: float
    condition: CompiledCondition


@dataclass(frozen=True, slots=True)
class CompiledHoldout:
    """Holdout of a `share` of customers."""

    name: str
    share: float


class Worth(Struct, frozen=True):
    """Worth of a message: `score` = (`p` × `value` − cost) × `weight` − `toll`, the shadow price of
    its cost while its budget is short.

    `order` sorts the best first: transactional messages before all, ties by name.
    """

    p: float
    value: float
    weight: float
    score: float
    order: tuple[bool, float, tuple[str, str, str]]
    toll: float = 0.0


@dataclass(frozen=True, slots=True)
class CompiledCandidate:
    """Treatment of an offer of a campaign, as a candidate for a slot.

    Without `placement` it is sent on `channel` when the campaign's trigger holds. `cost` includes
    the channel's. `p` and `value` are computed for the customer, unless the `worth` is the same for
    all; `lever` is the product of all levers. `gates` are in the order of stages. `consents`,
    `weights` and `holdouts` are those whose scope covers the treatment. `tie` orders equal scores.
    `confirm_ms`: time within which the message must be reported as shown. `items`: a catalogue
    whose items replace the candidate; `catalog`: name of the catalogue of an item, and `item` the
    values that models read of it. `draws`: the budgets and stocks that a message spends, with
    tokens.
    """

    campaign: str
    issue: str | None
    group: str | None
    offer: str
    treatment: str
    channel: str
    placement: str | None
    address: str | None
    purpose: Purpose
    transactional: bool
    p: Reckon
    value: Reckon
    cost: float
    lever: float
    worth: Worth | None
    starts_ms: int | None
    ends_ms: int | None
    deadline_ms: int
    confirm_ms: int | None
    content: Content
    gates: tuple[Gate, ...]
    consents: tuple[CompiledConsent, ...]
    weights: tuple[CompiledWeight, ...]
    holdouts: tuple[CompiledHoldout, ...]
    tie: tuple[str, str, str]
    items: "CatalogItems | None" = None
    catalog: str | None = None
    draws: tuple[tuple[str, int], ...] = ()
    item: ItemValues = NO_ITEM


class CatalogItems(Protocol):
    """Items of a catalogue, which replace the candidate that has them."""

    @property
    def name(self) -> str:
        """Name of the catalogue."""

    @property
    def max_recorded_items(self) -> int:
        """Number of items that a decision records at most, unless more are requested."""

    def eligible_items(self, facts: Facts) -> tuple[Sequence[CompiledCandidate], Mapping[str, int]]:
        """Return the items for a customer now, and the number that each rule rejects."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Candidates of a campaign for a slot; `treatments` are their names.

    `first_stage`: the earliest stage at which a candidate has a condition beyond its campaign's.
    """

    campaign: CompiledCampaign
    candidates: tuple[CompiledCandidate, ...]
    treatments: tuple[str, ...]
    first_stage: int


@dataclass(frozen=True, slots=True)
class CompiledCap:
    """Cap of `max` messages of `scope` in any window of `window_ms`, for each value of `per`."""

    name: str
    per: Literal["offer", "group", "issue", "campaign", "channel", "all"]
    max: int
    window_ms: int
    channel: str | None
    scope: CompiledScope


@dataclass(frozen=True, slots=True)
class EventSuppression:
    """Suppression of messages of `scope` for `duration_ms` after an interaction that fits
    `condition`."""

    name: str
    duration_ms: int
    condition: CompiledCondition
    scope: CompiledScope


@dataclass(frozen=True, slots=True)
class OutcomeSuppression:
    """Suppression of messages with the same value of `per` for `duration_ms`.

    It begins when `outcome` has occurred `count` times within `within_ms`.
    """

    name: str
    duration_ms: int
    outcome: str
    count: int
    within_ms: int
    per: Literal["treatment", "offer", "group", "issue", "campaign", "channel", "all"]
    scope: CompiledScope


@dataclass(frozen=True, slots=True)
class CompiledQuietHours:
    """Quiet hours for `scope`, from minute `start_minute` of the day to minute `end_minute`.

    The time zone is the value of `trait`, or else the interaction's, or else `zone`.
    """

    name: str
    start_minute: int
    end_minute: int
    zone: tzinfo
    trait: str | None
    scope: CompiledScope


@dataclass(frozen=True, slots=True)
class Constraints:
    """Constraints on messages that are otherwise eligible.

    `retention_ms`: age from which no constraint reads a contact or an outcome.
    """

    caps: tuple[CompiledCap, ...]
    event_suppressions: tuple[EventSuppression, ...]
    outcome_suppressions: tuple[OutcomeSuppression, ...]
    quiet_hours: tuple[CompiledQuietHours, ...]
    retention_ms: int


@dataclass(frozen=True, slots=True)
class GoalRule:
    """Goal of a campaign: `condition` within `window_ms` of the message."""

    condition: CompiledCondition
    window_ms: int


@dataclass(frozen=True, slots=True)
class LearningRules:
    """Rules of learning; `goals` by campaign, `bins` in order, times in ms.

    `incremental_campaigns`: those whose goal counts only beyond its base rate without a message.
    `fixed_snapshot`: snapshot that decisions use instead of newer ones. Outcomes on
    `scanner_channels` within `scanner_ms` of the decision are those of mail scanners.
    """

    goals: Mapping[str, GoalRule]
    bins: tuple[tuple[str, CompiledCondition], ...]
    half_life_ms: int
    explore_share: float
    prior: float
    prior_trials: float
    ramp: int
    scanner_channels: frozenset[str]
    scanner_ms: int
    is_frozen: bool
    incremental_campaigns: frozenset[str] = frozenset()
    fixed_snapshot: LearningRecord | None = None

    def bin_of(self, facts: Facts) -> str:
        """Return the first bin whose condition holds, else ""."""
        return next((name for name, condition in self.bins if condition.test(facts)), "")


@dataclass(frozen=True, slots=True)
class CompiledChannel:
    """Channel to customers; `url` is set where its adapter needs one."""

    name: str
    adapter: Literal["none", "webhook", "email", "sms", "push", "pos"]
    url: str | None
    secret: str | None
    placements: tuple[str, ...]
    email: Email | None = None
    provider: Provider | None = None
    push: Push | None = None
    pos: Pos | None = None
