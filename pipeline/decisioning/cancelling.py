"""Cancelling: withdrawal of messages that wait, to be sent or decided again, once they are
silenced.

A message waits from the moment when it was decided. It is cancelled by an interaction that
suppresses it, received at any time since, also of a profile that merged with this one; and by an
outcome that does, as long as that lasts. What was decided already is also cancelled once it would
not be decided any more, by what is known since (`review.py`). What is cancelled in an adapter keeps
its place under the caps until the adapter reports it as not delivered, for it may just have been;
on a channel without one, it gives it back at once.
"""

from collections.abc import Iterator
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from pipeline.config.compile import Configuration
from pipeline.config.compiled import Constraints
from pipeline.decisioning import deferral, holding, suppressions
from pipeline.decisioning.history import Remembered
from pipeline.decisioning.review import Review
from pipeline.decisioning.state import ContactState, Deferral, History
from pipeline.decisioning.suppressions import Silence
from pipeline.model.decision import Cancellation, Contact, DeferredMessage
from pipeline.model.shards import Shards

_Message: TypeAlias = Contact | DeferredMessage


class Silencing(Struct, frozen=True):
    """Suppressions of a customer, and what else holds back what waits.

    `contacts`: all, in the order of time; `silenced`: when interactions last caused which;
    `silences`: those in force.
    """

    contacts: tuple[Contact, ...]
    silenced: dict[str, int]
    silences: tuple[Silence, ...]
    review: Review

    @property
    def now_ms(self) -> int:
        """Present time of the customer."""
        return self.review.now_ms

    @property
    def rules(self) -> Constraints:
        """Rules of suppressions."""
        return self.review.config.constraints

    @property
    def reported(self) -> frozenset[str]:
        """Channels whose adapter reports what it did not deliver."""
        return self.review.config.reported

    @classmethod
    def of(cls, known: Remembered, review: Review) -> "Silencing":
        """Return the suppressions by the whole history of the customer."""
        rules, now_ms = review.config.constraints, review.now_ms
        found = suppressions.in_force(rules, known.silenced, known.contacts, now_ms)
        return cls(known.contacts, known.silenced, found, review)

    def reason(self, message: _Message, since_ms: int) -> str | None:
        """Return the suppression that silences a message that waits since then, if any."""
        if message.purpose == "transactional":
            return None
        for one in self.rules.events:
            at = self.silenced.get(one.name)
            lasted = at is not None and at + one.duration_ms > since_ms
            if lasted and one.scope.covers(message):
                return one.name
        found = (one for one in self.silences if one.silences(message))
        return next((one.name for one in found), None)


def is_retried(state: ContactState, config: Configuration, now_ms: int) -> bool:
    """Return whether a message may wait in an adapter, so that it is to be reviewed."""
    if state.by_log or not config.reported:
        return False
    for part in state.shards.here.values():
        for one in part.contacts:
            if one.channel in config.reported and _is_waiting(one, now_ms):
                return True
    return False


def cancel(
    key: str, state: ContactState, silencing: Silencing
) -> tuple[ContactState, tuple[Cancellation, ...]]:
    """Return the state of the profile `key` without what is silenced, and what was cancelled."""
    cancelled = (
        *_cancel_deferred(key, state, silencing),
        *_cancel_reserved(key, silencing),
    )
    if not cancelled:
        return state, ()
    state = deferral.drop_messages(
        state, lambda one, message: silencing.reason(message, one.since) is not None
    )
    ids = frozenset(one.action_id for one in cancelled if one.action_id is not None)
    state = holding.withdraw(state, lambda one: one.action.action_id in ids)
    here = {name: _end_wait(part, ids, silencing) for name, part in state.shards.here.items()}
    return replace(state, shards=Shards(here, state.shards.away)), cancelled


def _cancel_deferred(key: str, state: ContactState, silencing: Silencing) -> Iterator[Cancellation]:
    for _, one in deferral.every(state):
        yield from _of_deferral(key, one, silencing)


def _of_deferral(key: str, one: Deferral, silencing: Silencing) -> Iterator[Cancellation]:
    for message in one.messages:
        why = silencing.reason(message, one.since)
        if why is not None:
            yield _cancellation(key, message, None, why, silencing.now_ms)


def _cancel_reserved(key: str, silencing: Silencing) -> Iterator[Cancellation]:
    """Yield those that wait to be delivered; of those that exceed a cap the later ones.

    So of what may not have been shown only earlier messages take a place from another.
    """
    now_ms = silencing.now_ms
    kept = [one for one in silencing.contacts if one.status == "committed"]
    for one in silencing.contacts:
        if not _is_waiting(one, now_ms):
            if one.status == "reserved":
                kept.append(one)
            continue
        why = silencing.reason(one, one.at)
        if why is None and one.channel in silencing.reported:  # else it may have been delivered
            why = silencing.review.objection(one, kept)
        if why is None:
            kept.append(one)
        else:
            yield _cancellation(key, one, one.action_id, why, now_ms)


def _is_waiting(one: Contact, now_ms: int) -> bool:
    return one.status == "reserved" and one.waits_until is not None and now_ms < one.waits_until


def _cancellation(
    key: str, one: _Message, action_id: str | None, why: str, at: int
) -> Cancellation:
    return Cancellation(
        key, action_id, one.campaign, one.offer, one.treatment, one.channel, at, why
    )


def _end_wait(part: History, ids: frozenset[str], silencing: Silencing) -> History:
    if not any(one.action_id in ids for one in part.contacts):
        return part

    def end_contact(one: Contact) -> Contact:
        if one.action_id not in ids:
            return one
        status = one.status if one.channel in silencing.reported else "released"
        return replace(one, status=status, waits_until=None)

    return replace(part, contacts=tuple(map(end_contact, part.contacts)))
