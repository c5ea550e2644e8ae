"""Parts that campaigns, offers, treatments and policies share: scopes, rules and caps."""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, field

from pipeline.config.model.part import Condition, Duration, Name, Part

Purpose: TypeAlias = Literal["marketing", "service", "transactional"]
Names: TypeAlias = Name | tuple[Name, ...]


class Scope(Part, frozen=True):
    """The messages that a policy is for: those that have, of each field given here, one of its
    names. Without any field: all."""

    issue: Names = ()
    group: Names = ()
    offer: Names = ()
    campaign: Names = ()
    treatment: Names = ()
    channel: Names = ()
    purpose: Purpose | tuple[Purpose, ...] = ()


class Rule(Part, frozen=True):
    """A condition that must hold, for the messages in `for`. `words` say why, for explanations."""

    rule: Name
    when: Condition
    scope: Scope = field(default_factory=Scope, name="for")
    words: str = ""


class Engagement(Part, frozen=True, kw_only=True):
    """Rules in their order: `eligibility` (may they have it), `applicability` (does it make sense
    now), `suitability` (is it good for them). The first that does not hold rejects the message."""

    eligibility: tuple[Rule, ...] = ()
    applicability: tuple[Rule, ...] = ()
    suitability: tuple[Rule, ...] = ()


class Cap(Part, frozen=True):
    """At most `max` messages in any `window` per offer, group, issue, campaign, channel, or in all.

    `channel` limits it to one channel, `for` to any messages. Transactional messages neither count
    nor are capped, and a message counts from the decision on until it bounces or expires.
    """

    cap: Name
    per: Literal["offer", "group", "issue", "campaign", "channel", "all"]
    max: Annotated[int, Meta(ge=0)]
    window: Duration
    channel: Name | None = None
    scope: Scope = field(default_factory=Scope, name="for")
