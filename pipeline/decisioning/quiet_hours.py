"""Quiet hours: nothing is sent at night by the customer's clock, also when daylight saving changes
it."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Final

from pipeline.conditions import Facts
from pipeline.config.compiled import CompiledCandidate, CompiledQuietHours
from pipeline.config.zones import zone

_MINUTE: Final = timedelta(minutes=1)


def find_quiet(
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
    """Return whether the customer's clock is from `begins` (inclusive) to `ends` (exclusive)."""
    now = datetime.fromtimestamp(facts.now_ms / 1000, UTC)
    return _is_within(rule, now.astimezone(_zone(rule, facts)))


def ends_at(rule: CompiledQuietHours, facts: Facts) -> int:
    """Return when (ms) the quiet hours end in which the customer is now.

    Where daylight saving skips the end, they end with the skip; where it comes twice, at either.
    """
    where = _zone(rule, facts)
    now = datetime.fromtimestamp(facts.now_ms / 1000, UTC)
    end = min(one for one in _local_ends(rule, now.astimezone(where)) if one > now)
    while _is_within(rule, end.astimezone(where)):
        end += _MINUTE
    return round(end.timestamp() * 1000)


def _local_ends(rule: CompiledQuietHours, local: datetime) -> Iterator[datetime]:
    """Yield the moments of `ends` by the local clock, on this day and the next."""
    end = time(rule.ends // 60, rule.ends % 60, tzinfo=local.tzinfo)
    for days in (0, 1):
        for fold in (0, 1):  # before and after the clocks change
            on = local.date() + timedelta(days)
            yield datetime.combine(on, end.replace(fold=fold)).astimezone(UTC)


def _is_within(rule: CompiledQuietHours, local: datetime) -> bool:
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
