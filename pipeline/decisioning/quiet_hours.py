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
    end = min(one for one in _local_times(rule.ends, now.astimezone(where)) if one > now)
    while _is_within(rule, end.astimezone(where)):
        end += _MINUTE
    return round(end.timestamp() * 1000)


def begins_at(
    candidate: CompiledCandidate, rules: Iterable[CompiledQuietHours], facts: Facts
) -> int | None:
    """Return when (ms) the next quiet hours begin that would hold `candidate` back; None: never.

    A beginning that daylight saving skips is that of the skip.
    """
    if candidate.placement is not None or candidate.transactional:
        return None
    covering = (one for one in rules if one.begins != one.ends and one.scope.covers(candidate))
    return min((_next_beginning(one, facts) for one in covering), default=None)


def _next_beginning(rule: CompiledQuietHours, facts: Facts) -> int:
    where = _zone(rule, facts)
    now = datetime.fromtimestamp(facts.now_ms / 1000, UTC)
    local = now.astimezone(where)
    begin = min(one for one in _local_times(rule.begins, local) if one > now)
    while not _is_within(rule, begin.astimezone(where)):
        begin += _MINUTE
    return round(begin.timestamp() * 1000)


def _local_times(minute: int, local: datetime) -> Iterator[datetime]:
    """Yield the moments of that minute by the local clock, on this day and the next."""
    at = time(minute // 60, minute % 60, tzinfo=local.tzinfo)
    for days in (0, 1):
        for fold in (0, 1):  # before and after the clocks change
            on = local.date() + timedelta(days)
            yield datetime.combine(on, at.replace(fold=fold)).astimezone(UTC)


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
