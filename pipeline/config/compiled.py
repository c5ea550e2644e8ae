"""What the stages run: the configuration's parts with names resolved and conditions compiled."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import tzinfo
from typing import Final, Literal, TypeAlias

from pipeline.conditions import Compiled, Facts
from pipeline.conditions.compile import Read, Test
from pipeline.config.keeps import Aggregate
from pipeline.config.model import KeptRule, Purpose
from pipeline.config.templates import Template
from pipeline.model.interaction import Known

Reckon: TypeAlias = Callable[[Facts], float]
"""A number for this customer."""

STAGES: Final = ("eligibility", "applicability", "suitability")
"""Of the engagement policy, in their order."""
ELIGIBILITY: Final = 0
APPLICABILITY: Final = 1
SUITABILITY: Final = 2


@dataclass(frozen=True, slots=True)
class Trait:
    """A named value, made by `rule` of what is kept under `keeps`.

    `timed`: time alone changes it and a segment reads it, so that this must be told.
    """

    name: str
    rule: KeptRule
    keeps: tuple[Aggregate, ...]
    timed: bool


@dataclass(frozen=True, slots=True)
class Bucket:
    """Between which of `thresholds` (ascending) the trait `of` lies; `by_age`: how long ago (ms) it
    is, `descending`: counted from the last one. `timed` as for a trait."""

    name: str
    of: str
    thresholds: tuple[float, ...]
    by_age: bool
    descending: bool
    timed: bool


@dataclass(frozen=True, slots=True)
class Feature:
    """A trait's number; `by_age`: how many days ago it is."""

    trait: str
    by_age: bool


@dataclass(frozen=True, slots=True)
class Score:
    """The trait `name` that a model makes of `features`."""

    name: str
    features: tuple[Feature, ...]


@dataclass(frozen=True, slots=True)
class Sequence:
    """The first `steps` of `parts` in their order, within `within_ms`, without the one that may
    follow them. `keep_ms`: so old an interaction no longer matters."""

    name: str
    steps: int
    parts: tuple[Test, ...]
    names: frozenset[str] | None
    within_ms: int
    keep_ms: int


@dataclass(frozen=True, slots=True)
class Segment:
    """`channels`: only interactions of these evaluate it; empty: of any channel."""

    name: str
    test: Test
    when: Compiled
    channels: frozenset[str]


@dataclass(frozen=True, slots=True)
class Scope:
    """The messages whose every field in `fields` has one of its names; without fields: all."""

    fields: tuple[tuple[Callable[[object], str | None], frozenset[str | None]], ...]

    def covers(self, one: object) -> bool:
        """`one`: a candidate or a contact."""
        for read, names in self.fields:  # noqa: SIM110 - a generator costs three times the loop
            if read(one) not in names:
                return False
        return True


@dataclass(frozen=True, slots=True)
class Gate:
    """A rule of the engagement policy. `stage` is its place in `STAGES`, `label` what a Decision
    says when it does not hold: `stage/rule`."""

    stage: int
    label: str
    when: Compiled


@dataclass(frozen=True, slots=True)
class Campaign:
    """What is asked once for all that a campaign proposes. It is valid from `starts_ms`
    (inclusive) to `ends_ms` (exclusive), where given; `gates` are in the order of stages."""

    name: str
    purpose: Purpose
    trigger: Compiled
    starts_ms: int | None
    ends_ms: int | None
    gates: tuple[Gate, ...]


@dataclass(frozen=True, slots=True)
class Content:
    """Templates by the name of their part. `reads`: every name in them, and how it is read;
    `defaults` stand in for what is not known; without those in `needs` nothing is said."""

    parts: Mapping[str, Template]
    reads: tuple[tuple[str, Read], ...]
    needs: tuple[tuple[str, Read], ...]
    defaults: Mapping[str, Known]


@dataclass(frozen=True, slots=True)
class Consent:
    """What a customer must have agreed to."""

    name: str
    when: Compiled


@dataclass(frozen=True, slots=True)
class Weight:
    """`factor` multiplies the score while `when` holds."""

    name: str
    factor: float
    when: Compiled


@dataclass(frozen=True, slots=True)
class Holdout:
    """This `share` of customers does without."""

    name: str
    share: float


@dataclass(frozen=True, slots=True)
class Worth:
    """What saying something is worth: `score` = (`p` × `value` − cost) × `weight`. By `order` the
    best comes first; what is transactional before all, ties by name."""

    p: float
    value: float
    weight: float
    score: float
    order: tuple[bool, float, tuple[str, str, str]]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One treatment of one offer of one campaign.

    Without `placement` it is sent on `channel` when the campaign's trigger holds. `cost` includes
    the channel's. `p` and `value` are read of the customer, unless the `worth` is the same for all;
    `lever` is the product of all levers. `gates` are in the order of stages. `consents`, `weights`
    and `holdouts` are those that are for it. `tie` orders what scores the same. `confirm_ms`:
    within this time it must be told that it was shown.
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
    consents: tuple[Consent, ...]
    weights: tuple[Weight, ...]
    holdouts: tuple[Holdout, ...]
    tie: tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Entry:
    """What one campaign has for a slot, by name also. `first_gate`: the earliest stage at which
    one of the candidates has something to ask beyond what the campaign asks."""

    campaign: Campaign
    candidates: tuple[Candidate, ...]
    treatments: tuple[str, ...]
    first_gate: int


@dataclass(frozen=True, slots=True)
class Cap:
    """At most `max` messages of `scope` in any window of `window_ms`, per what `per` says."""

    name: str
    per: Literal["offer", "group", "issue", "campaign", "channel", "all"]
    max: int
    window_ms: int
    channel: str | None
    scope: Scope


@dataclass(frozen=True, slots=True)
class EventSuppression:
    """Silences all of `scope` for `duration_ms` after an interaction that fits `when`."""

    name: str
    duration_ms: int
    when: Compiled
    scope: Scope


@dataclass(frozen=True, slots=True)
class OutcomeSuppression:
    """Silences what is the same by `per` for `duration_ms` after `count` times `outcome` within
    `within_ms`."""

    name: str
    duration_ms: int
    outcome: str
    count: int
    within_ms: int
    per: Literal["treatment", "offer", "group", "issue", "campaign", "channel", "all"]
    scope: Scope


@dataclass(frozen=True, slots=True)
class QuietHours:
    """No messages of `scope` from minute `begins` of the day to minute `ends`, by the clock of the
    zone in `trait`, or of the interaction, or else of `zone`."""

    name: str
    begins: int
    ends: int
    zone: tzinfo
    trait: str | None
    scope: Scope


@dataclass(frozen=True, slots=True)
class Constraints:
    """What holds back a message that would be right otherwise. `longest_ms`: so old a contact, and
    what silences, no longer matters to any of them."""

    caps: tuple[Cap, ...]
    events: tuple[EventSuppression, ...]
    outcomes: tuple[OutcomeSuppression, ...]
    quiet_hours: tuple[QuietHours, ...]
    longest_ms: int


@dataclass(frozen=True, slots=True)
class Channel:
    """A way to reach a customer. `url` is there when the adapter is the webhook."""

    name: str
    adapter: Literal["none", "webhook"]
    url: str | None
    secret: str | None
    placements: tuple[str, ...]
