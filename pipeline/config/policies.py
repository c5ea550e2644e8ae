"""Compilation of policies for the decisioning stage, and the traits that they read."""

from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cache
from operator import attrgetter
from typing import Final, get_args

from pipeline.conditions import CompiledCondition, duration_ms
from pipeline.config import model
from pipeline.config.compiled import (
    STAGES,
    CompiledCap,
    CompiledQuietHours,
    CompiledScope,
    Constraints,
    EventSuppression,
    Gate,
    GoalRule,
    LearningRules,
    OutcomeSuppression,
)
from pipeline.config.conditions import compile_condition
from pipeline.config.learned import fixed_snapshot
from pipeline.config.zones import zone

FIELDS: Final = ("issue", "group", "offer", "campaign", "treatment", "channel", "purpose")
"""Fields of a scope."""

PURPOSES_EXCEPT_TRANSACTIONAL: Final = ("marketing", "service")
MARKETING: Final = ("marketing",)


def name_tuple(names: model.Names) -> tuple[str, ...]:
    """Return one name or several as a tuple."""
    return (names,) if isinstance(names, str) else names


def scope(declared_scope: model.Scope, purposes: Collection[str] = ()) -> CompiledScope:
    """Compile a scope; `purposes` apply where it names none."""
    fields: list[tuple[Callable[[object], str | None], frozenset[str | None]]] = []
    for field in FIELDS:
        names = name_tuple(getattr(declared_scope, field)) or (
            purposes if field == "purpose" else ()
        )
        if names and set(names) != set(get_args(model.Purpose)):
            fields.append((_reader(field), frozenset(names)))
    return CompiledScope(tuple(fields))


@cache
def _reader(field: str) -> Callable[[object], str | None]:
    return attrgetter(field)


def applies_to_whole_campaigns(declared_scope: model.Scope) -> bool:
    """Return whether a scope applies to campaigns as a whole."""
    return not any(
        getattr(declared_scope, field) for field in FIELDS if field not in ("campaign", "purpose")
    )


def rules_of(engagement: model.Engagement) -> Iterator[tuple[int, model.Rule]]:
    """Yield every rule with its stage, in the order of stages."""
    for stage, name in enumerate(STAGES):
        yield from ((stage, rule) for rule in getattr(engagement, name))


def gate(stage: int, rule: model.Rule) -> Gate:
    """Compile a rule."""
    return Gate(stage, f"{STAGES[stage]}/{rule.rule}", compile_condition(rule.when))


def caps(bundle: model.Bundle) -> Iterator[CompiledCap]:
    """Compile the caps of policies.yaml, then those of campaigns and their offers."""
    for cap in bundle.policies.caps:
        yield _cap(cap, scope(cap.scope))
    for campaign in bundle.campaigns:
        campaign_fields = scope(model.Scope(campaign=campaign.campaign)).fields
        for cap in campaign.caps:
            yield _cap(cap, CompiledScope((*campaign_fields, *scope(cap.scope).fields)))
        for offer in campaign.offers:
            offer_fields = scope(model.Scope(offer=offer.offer)).fields
            for cap in offer.caps:
                yield _cap(
                    cap, CompiledScope((*campaign_fields, *offer_fields, *scope(cap.scope).fields))
                )


def learning(bundle: model.Bundle) -> LearningRules | None:
    """Compile the rules of learning; None: nothing is learned."""
    rules = bundle.policies.learning
    if rules is None:
        return None
    return LearningRules(
        goals={
            campaign.campaign: GoalRule(
                compile_condition(campaign.goal.when), duration_ms(campaign.goal.window)
            )
            for campaign in bundle.campaigns
            if campaign.goal is not None and campaign.purpose != "transactional"
        },
        bins=tuple(
            (context_bin.bin, compile_condition(context_bin.when)) for context_bin in rules.bins
        ),
        half_life_ms=duration_ms(rules.half_life),
        explore_share=rules.explore,
        prior=rules.prior,
        prior_trials=rules.prior_trials,
        ramp=rules.ramp,
        scanner_channels=frozenset(name_tuple(rules.scanners.channel)),
        scanner_ms=duration_ms(rules.scanners.within),
        is_frozen=rules.frozen,
        incremental_campaigns=frozenset(
            campaign.campaign for campaign in bundle.campaigns if campaign.incremental
        ),
        fixed_snapshot=None if bundle.learned is None else fixed_snapshot(bundle.learned),
    )


def constraints(bundle: model.Bundle) -> Constraints:
    """Compile all constraints on messages."""
    all_caps = tuple(caps(bundle))
    suppressions = bundle.policies.suppressions
    events = tuple(
        _event_suppression(suppression)
        for suppression in suppressions
        if suppression.outcome is None
    )
    outcomes = tuple(
        _outcome_suppression(suppression)
        for suppression in suppressions
        if suppression.outcome is not None
    )
    spans = (
        *(cap.window_ms for cap in all_caps),
        *(event.duration_ms for event in events),
        *(outcome.duration_ms + outcome.within_ms for outcome in outcomes),
        *(duration_ms(goal.window) for goal in _learned_goals(bundle)),
    )
    quiet_hours = tuple(_quiet_hours(hours) for hours in bundle.policies.quiet_hours)
    return Constraints(all_caps, events, outcomes, quiet_hours, max(spans, default=0))


def _learned_goals(bundle: model.Bundle) -> Iterator[model.Goal]:
    if bundle.policies.learning is not None:
        yield from (campaign.goal for campaign in bundle.campaigns if campaign.goal is not None)


def conditions(policies: model.Policies) -> Iterator[CompiledCondition]:
    """Yield the conditions of policies.yaml that no candidate contains."""
    yield from (
        compile_condition(suppression.when)
        for suppression in policies.suppressions
        if suppression.when is not None
    )
    if policies.learning is not None:
        yield from (compile_condition(context_bin.when) for context_bin in policies.learning.bins)


def traits(policies: model.Policies) -> Iterable[str]:
    """Return the traits that policies.yaml reads beyond its conditions."""
    return (hours.trait for hours in policies.quiet_hours if hours.trait is not None)


def minute_of_day(time: str) -> int:
    """Return the minutes since midnight of a time such as `22:30`."""
    hours, minutes = time.split(":")
    return int(hours) * 60 + int(minutes)


def _cap(cap: model.Cap, compiled_scope: CompiledScope) -> CompiledCap:
    return CompiledCap(
        cap.cap, cap.per, cap.max, duration_ms(cap.window), cap.channel, compiled_scope
    )


def _event_suppression(suppression: model.Suppression) -> EventSuppression:
    return EventSuppression(
        name=suppression.suppression,
        duration_ms=duration_ms(suppression.duration),
        condition=compile_condition(suppression.when),
        scope=scope(suppression.scope, MARKETING),
    )


def _outcome_suppression(suppression: model.Suppression) -> OutcomeSuppression:
    assert suppression.outcome is not None
    return OutcomeSuppression(
        name=suppression.suppression,
        duration_ms=duration_ms(suppression.duration),
        outcome=suppression.outcome,
        count=suppression.count,
        within_ms=duration_ms(suppression.within),
        per=suppression.per,
        scope=scope(suppression.scope, MARKETING),
    )


def _quiet_hours(hours: model.QuietHours) -> CompiledQuietHours:
    time_zone = zone(hours.zone)
    assert time_zone is not None
    return CompiledQuietHours(
        name=hours.quiet,
        start_minute=minute_of_day(hours.start),
        end_minute=minute_of_day(hours.end),
        zone=time_zone,
        trait=hours.trait,
        scope=scope(hours.scope, PURPOSES_EXCEPT_TRANSACTIONAL),
    )
