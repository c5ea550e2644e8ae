"""Suppressions: no messages of a kind for some time after an outcome or an event.

The end is exclusive: after a complaint at 12:00 that silences for five minutes, 12:04:59 is silent
and 12:05 is not.
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
from pipeline.decisioning.caps import SUBJECT
from pipeline.model.decision import Contact, DeferredMessage

_EVERYTHING: Final = "all"


class Silence(Struct, frozen=True):
    """Suppression that is in force for `scope`, where what `per` says is one of `subjects`."""

    name: str
    scope: CompiledScope
    per: str
    subjects: frozenset[str | None]

    def silences(self, one: CompiledCandidate | Contact | DeferredMessage) -> bool:
        """Return whether the suppression silences a message that is not transactional."""
        if not self.scope.covers(one):
            return False
        subject = SUBJECT[self.per](one)
        return subject is not None and subject in self.subjects


def caused_by(constraints: Constraints, facts: Facts) -> dict[str, int]:
    """Return the suppressions that this interaction causes, each with when it happened (ms)."""
    interaction = facts.interaction
    if interaction is None:
        return {}
    at = min(interaction.occurred_at, interaction.received_at)
    name = interaction.name
    return {
        one.name: at
        for one in constraints.events
        if (one.when.names is None or name in one.when.names) and one.when.test(facts)
    }


def in_force(
    constraints: Constraints,
    silenced: Mapping[str, int],
    contacts: Sequence[Contact],
    now_ms: int,
) -> tuple[Silence, ...]:
    """Return all suppressions in force, those by interactions first."""
    found = [
        Silence(one.name, one.scope, _EVERYTHING, frozenset(("",)))
        for one in constraints.events
        if one.name in silenced and _lasts(silenced[one.name], one, now_ms)
    ]
    for each in constraints.outcomes:
        subjects = _subjects(each, contacts, now_ms)
        if subjects:
            found.append(Silence(each.name, each.scope, each.per, subjects))
    return tuple(found)


def find_silence(candidate: CompiledCandidate, silences: Iterable[Silence]) -> Silence | None:
    """Return the first suppression of `candidate`; a transactional message has none."""
    if candidate.transactional:
        return None
    for one in silences:
        if one.silences(candidate):
            return one
    return None


def _lasts(at: int, one: EventSuppression | OutcomeSuppression, now_ms: int) -> bool:
    return now_ms < at + one.duration_ms


def _subjects(
    one: OutcomeSuppression, contacts: Sequence[Contact], now_ms: int
) -> frozenset[str | None]:
    subject = SUBJECT[one.per]
    times: dict[str | None, list[int]] = {}
    for contact in contacts:
        happened = contact.outcomes.get(one.outcome)
        if happened and one.scope.covers(contact):
            times.setdefault(subject(contact), []).extend(happened)
    return frozenset(
        what
        for what, happened in times.items()
        if (at := _last_reached_at(sorted(happened), one)) is not None and _lasts(at, one, now_ms)
    )


def _last_reached_at(times: Sequence[int], one: OutcomeSuppression) -> int | None:
    """Return when the count was last reached within the time; None: never."""
    for last in range(len(times) - 1, one.count - 2, -1):
        if times[last] - times[last - one.count + 1] < one.within_ms:
            return times[last]
    return None
