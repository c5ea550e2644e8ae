"""Quiet hours: nothing is sent at night by the customer's clock, whatever daylight saving does."""

from collections.abc import Iterable
from datetime import UTC, datetime, tzinfo

from pipeline.conditions import Facts
from pipeline.config.compiled import CompiledCandidate, CompiledQuietHours
from pipeline.config.zones import zone


def quiet(
    candidate: CompiledCandidate, rules: Iterable[CompiledQuietHours], facts: Facts
) -> CompiledQuietHours | None:
    """Return the first quiet hours that hold `candidate` back now.

    Answers and transactional messages have none.
    """
    if candidate.placement is not None or candidate.transactional:
        return None
    for one in rules:
        if one.scope.covers(candidate) and is_quiet(one, facts):
            return one
    return None


def is_quiet(rule: CompiledQuietHours, facts: Facts) -> bool:
    """Return whether it is `begins` (inclusive) to `ends` (exclusive) where the customer is."""
    local = datetime.fromtimestamp(facts.now_ms / 1000, UTC).astimezone(_zone(rule, facts))
    minute = local.hour * 60 + local.minute
    if rule.begins < rule.ends:
        return rule.begins <= minute < rule.ends
    return minute >= rule.begins or minute < rule.ends


def _zone(rule: CompiledQuietHours, facts: Facts) -> tzinfo:
    known = None if rule.trait is None else facts.traits.get(rule.trait)
    context = None if facts.interaction is None else facts.interaction.context.timezone
    for name in (known, context):
        if isinstance(name, str) and (found := zone(name)) is not None:
            return found
    return rule.zone
