"""Quiet hours: hours of the customer's local time in which messages are sent only as answers, also
across changes of daylight saving."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Final

from pipeline.conditions import Facts
from pipeline.config.compiled import CompiledCandidate, CompiledQuietHours
from pipeline.config.zones import zone

_MINUTE: Final = timedelta(minutes=1)


def find_quiet_hours(
    candidate: CompiledCandidate, rules: Iterable[CompiledQuietHours], facts: Facts
) -> CompiledQuietHours | None:
    """Return the first quiet hours that hold `candidate` back now.

    Answers and transactional messages are exempt.
    """
    if candidate.placement is not None or candidate.transactional:
        return None
    for rule in rules:
        if rule.scope.covers(candidate) and is_quiet(rule, facts):
            return rule
    return None


def is_quiet(rule: CompiledQuietHours, facts: Facts) -> bool:
    """Return whether the customer's local time is in [`start_minute`, `end_minute`)."""
    now = datetime.fromtimestamp(facts.now_ms / 1000, UTC)
    return _is_within(rule, now.astimezone(_zone(rule, facts)))


def end_of_quiet_hours(rule: CompiledQuietHours, facts: Facts) -> int:
    """Return the end (ms) of the customer's current quiet hours.

    Where daylight saving skips the end, they end with the skip; where it repeats the end, they end
    at the first or the second time, whichever is next.
    """
    time_zone = _zone(rule, facts)
    now = datetime.fromtimestamp(facts.now_ms / 1000, UTC)
    end = min(
        local_time
        for local_time in _local_times(rule.end_minute, now.astimezone(time_zone))
        if local_time > now
    )
    while _is_within(rule, end.astimezone(time_zone)):
        end += _MINUTE
    return round(end.timestamp() * 1000)


def begin_of_next_quiet_hours(
    candidate: CompiledCandidate, rules: Iterable[CompiledQuietHours], facts: Facts
) -> int | None:
    """Return the beginning (ms) of the next quiet hours that hold `candidate` back; None: never.

    Where daylight saving skips the beginning, they beginning with the skip.
    """
    if candidate.placement is not None or candidate.transactional:
        return None
    covering_rules = (
        rule
        for rule in rules
        if rule.start_minute != rule.end_minute and rule.scope.covers(candidate)
    )
    return min((_next_beginning(hours, facts) for hours in covering_rules), default=None)


def _next_beginning(rule: CompiledQuietHours, facts: Facts) -> int:
    time_zone = _zone(rule, facts)
    now = datetime.fromtimestamp(facts.now_ms / 1000, UTC)
    local_now = now.astimezone(time_zone)
    beginning = min(
        local_time for local_time in _local_times(rule.start_minute, local_now) if local_time > now
    )
    while not _is_within(rule, beginning.astimezone(time_zone)):
        beginning += _MINUTE
    return round(beginning.timestamp() * 1000)


def _local_times(minute: int, local_now: datetime) -> Iterator[datetime]:
    """Yield the moments of a minute of the local day, on this day and the next."""
    time_of_day = time(minute // 60, minute % 60, tzinfo=local_now.tzinfo)
    for days in (0, 1):
        for fold in (0, 1):  # before and after the clocks change
            date = local_now.date() + timedelta(days)
            yield datetime.combine(date, time_of_day.replace(fold=fold)).astimezone(UTC)


def _is_within(rule: CompiledQuietHours, local_time: datetime) -> bool:
    minute = local_time.hour * 60 + local_time.minute
    if rule.start_minute < rule.end_minute:
        return rule.start_minute <= minute < rule.end_minute
    return minute >= rule.start_minute or minute < rule.end_minute


def _zone(rule: CompiledQuietHours, facts: Facts) -> tzinfo:
    trait_zone = None if rule.trait is None else facts.traits.get(rule.trait)
    context_zone = None if facts.interaction is None else facts.interaction.context.timezone
    for name in (trait_zone, context_zone):
        if isinstance(name, str) and (customer_zone := zone(name)) is not None:
            return customer_zone
    return rule.zone
