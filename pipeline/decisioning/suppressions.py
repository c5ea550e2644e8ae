"""Suppressions: a pause of some messages after an outcome or an event.

The end is exclusive: after a complaint at 12:00 with a suppression of five minutes, 12:04:59 is
suppressed and 12:05 is not.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from pipeline.conditions import Facts
from pipeline.config.compiled import (
    CompiledCandidate,
    CompiledScope,
    Constraints,
    EventSuppression,
    OutcomeSuppression,
)
from pipeline.decisioning.caps import SUBJECT_READERS
from pipeline.model.decision import Contact, DeferredMessage

_EVERYTHING: Final = "all"


class ActiveSuppression(Struct, frozen=True):
    """Suppression in force for messages of `scope` whose subject by `per` is one of `subjects`."""

    name: str
    scope: CompiledScope
    per: str
    subjects: frozenset[str | None]

    def covers(self, message: CompiledCandidate | Contact | DeferredMessage) -> bool:
        """Return whether a message that is not transactional is suppressed."""
        if not self.scope.covers(message):
            return False
        subject = SUBJECT_READERS[self.per](message)
        return subject is not None and subject in self.subjects


def suppression_times(constraints: Constraints, facts: Facts) -> dict[str, int]:
    """Return the suppressions that an interaction causes, each with the interaction's time (ms)."""
    interaction = facts.interaction
    if interaction is None:
        return {}
    time_ms = min(interaction.occurred_at, interaction.received_at)
    name = interaction.name
    return {
        rule.name: time_ms
        for rule in constraints.event_suppressions
        if (rule.condition.names is None or name in rule.condition.names)
        and rule.condition.test(facts)
    }


def active_suppressions(
    constraints: Constraints,
    suppression_times: Mapping[str, int],
    contacts: Sequence[Contact],
    now_ms: int,
) -> tuple[ActiveSuppression, ...]:
    """Return all suppressions in force, those caused by interactions first."""
    suppressions = [
        ActiveSuppression(rule.name, rule.scope, _EVERYTHING, frozenset(("",)))
        for rule in constraints.event_suppressions
        if rule.name in suppression_times
        and _is_in_force(suppression_times[rule.name], rule, now_ms)
    ]
    for rule in constraints.outcome_suppressions:
        subjects = _subjects(rule, contacts, now_ms)
        if subjects:
            suppressions.append(ActiveSuppression(rule.name, rule.scope, rule.per, subjects))
    return tuple(suppressions)


def find_suppression(
    candidate: CompiledCandidate, suppressions: Iterable[ActiveSuppression]
) -> ActiveSuppression | None:
    """Return the first suppression of `candidate`; a transactional message has none."""
    if candidate.transactional:
        return None
    for suppression in suppressions:
        if suppression.covers(candidate):
            return suppression
    return None


def _is_in_force(
    time_ms: int, suppression: EventSuppression | OutcomeSuppression, now_ms: int
) -> bool:
    return now_ms < time_ms + suppression.duration_ms


def _subjects(
    suppression: OutcomeSuppression, contacts: Sequence[Contact], now_ms: int
) -> frozenset[str | None]:
    subject = SUBJECT_READERS[suppression.per]
    times_by_subject: dict[str | None, list[int]] = {}
    for contact in contacts:
        outcome_times = contact.outcomes.get(suppression.outcome)
        if outcome_times and suppression.scope.covers(contact):
            times_by_subject.setdefault(subject(contact), []).extend(outcome_times)
    return frozenset(
        name
        for name, times in times_by_subject.items()
        if (time_ms := _last_reached_at(sorted(times), suppression)) is not None
        and _is_in_force(time_ms, suppression, now_ms)
    )


def _last_reached_at(times: Sequence[int], suppression: OutcomeSuppression) -> int | None:
    """Return the time at which the count was last reached within the window; None: never."""
    for last_index in range(len(times) - 1, suppression.count - 2, -1):
        if times[last_index] - times[last_index - suppression.count + 1] < suppression.within_ms:
            return times[last_index]
    return None
