"""Parts that campaigns, offers, treatments and policies share: scopes, rules and caps."""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, field

from pipeline.config.model.part import Condition, Duration, Name, Part

Purpose: TypeAlias = Literal["marketing", "service", "transactional"]
Names: TypeAlias = Name | tuple[Name, ...]


class Scope(Part, frozen=True):
    """Messages to which a policy applies: those with one of the listed names in each field that is
    present. Without any field: all."""

    issue: Names = ()
    group: Names = ()
    offer: Names = ()
    campaign: Names = ()
    treatment: Names = ()
    channel: Names = ()
    purpose: Purpose | tuple[Purpose, ...] = ()


class Rule(Part, frozen=True):
    """Condition that must hold for the messages in `for`. `words` explain it."""

    rule: Name
    when: Condition
    scope: Scope = field(default_factory=Scope, name="for")
    words: str = ""


class Engagement(Part, frozen=True, kw_only=True):
    """Rules in their order: `eligibility` (the customer may have the message), `applicability` (it
    makes sense now), `suitability` (it is good for the customer). The first rule that does not hold
    rejects the message."""

    eligibility: tuple[Rule, ...] = ()
    applicability: tuple[Rule, ...] = ()
    suitability: tuple[Rule, ...] = ()


class Cap(Part, frozen=True):
    """Maximum of `max` messages in any `window`, per offer, group, issue, campaign or channel, or
    in total.

    `channel` limits it to the messages on a channel, `for` to those in a scope. Transactional
    messages neither count nor are capped, and a message counts from its decision on until it
    bounces or expires.
    """

    cap: Name
    per: Literal["offer", "group", "issue", "campaign", "channel", "all"]
    max: Annotated[int, Meta(ge=0)]
    window: Duration
    channel: Name | None = None
    scope: Scope = field(default_factory=Scope, name="for")
