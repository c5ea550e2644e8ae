"""What the stages run: the configuration's parts with names resolved and conditions compiled."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pipeline.conditions import Compiled
from pipeline.conditions.compile import Read, Test
from pipeline.config.keeps import Keep
from pipeline.config.model import KeptRule

Purpose = Literal["marketing", "service", "transactional"]


@dataclass(frozen=True, slots=True)
class Trait:
    """A named value, made by `rule` of what is kept under `keeps`.

    `timed`: time alone changes it and a segment reads it, so that this must be told.
    """

    name: str
    rule: KeptRule
    keeps: tuple[Keep, ...]
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
class Campaign:
    """What is asked once for all that a campaign proposes. It is valid from `starts_ms`
    (inclusive) to `ends_ms` (exclusive), where given."""

    name: str
    purpose: Purpose
    audience: Compiled
    trigger: Compiled
    starts_ms: int | None
    ends_ms: int | None


@dataclass(frozen=True, slots=True)
class Candidate:
    """One treatment of one offer of one campaign.

    Without `placement` it is sent on `channel` when the campaign's trigger holds. `cost` includes
    the channel's; `score` is what the treatment is worth after it. By `order` the best comes first,
    ties by name. `needs`: the names in the content, and how each is read.
    """

    campaign: str
    offer: str
    treatment: str
    channel: str
    placement: str | None
    address: str | None
    purpose: Purpose
    value: float
    cost: float
    deadline_ms: int
    content: Mapping[str, str]
    needs: tuple[tuple[str, Read], ...]
    when: Compiled
    score: float
    order: tuple[float, str, str, str]


@dataclass(frozen=True, slots=True)
class Entry:
    """What one campaign has for a slot, by name also."""

    campaign: Campaign
    candidates: tuple[Candidate, ...]
    treatments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cap:
    """At most `max` messages in any window of `window_ms`, per what `per` says."""

    name: str
    per: Literal["offer", "campaign", "channel", "all"]
    max: int
    window_ms: int
    channel: str | None


@dataclass(frozen=True, slots=True)
class Channel:
    """A way to reach a customer. `url` is there when the adapter is the webhook."""

    name: str
    adapter: Literal["none", "webhook"]
    url: str | None
    secret: str | None
    placements: tuple[str, ...]
