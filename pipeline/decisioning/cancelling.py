"""Cancellation of messages that wait to be sent or decided again, once they are suppressed.

A message waits from its decision on. It is cancelled by an interaction that
suppresses it, received at any time since, also by a profile that merged with this one; and by an
outcome that suppresses it, as long as that lasts. A decided message is also cancelled once newer
facts rule it out (`review.py`). On a channel whose adapter reports outcomes, a cancelled message
counts under the caps until the adapter reports it as not delivered, for it may just have been
sent; on other channels it stops counting at once.
"""

from collections.abc import Iterator
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from pipeline.config.compile import Configuration
from pipeline.config.compiled import Constraints
from pipeline.decisioning import deferral, holding, suppressions
from pipeline.decisioning.history import CustomerHistory
from pipeline.decisioning.review import Review
from pipeline.decisioning.state import ContactState, Deferral, History
from pipeline.decisioning.suppressions import ActiveSuppression
from pipeline.model.decision import Cancellation, Contact, DeferredMessage
from pipeline.model.shards import Shards

_Message: TypeAlias = Contact | DeferredMessage


class CancellationCheck(Struct, frozen=True):
    """Suppressions and rules by which a customer's waiting messages are cancelled.

    `contacts`: all, by time; `silenced`: time of the last interaction that caused each suppression;
    `silences`: the suppressions in force.
    """

    contacts: tuple[Contact, ...]
    silenced: dict[str, int]
    silences: tuple[ActiveSuppression, ...]
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
        """Channels whose adapter reports undelivered messages."""
        return self.review.config.reporting_channels

    @classmethod
    def of(cls, known: CustomerHistory, review: Review) -> "CancellationCheck":
        """Return the check by the whole history of the customer."""
        rules, now_ms = review.config.constraints, review.now_ms
        silences = suppressions.in_force(rules, known.silenced, known.contacts, now_ms)
        return cls(known.contacts, known.silenced, silences, review)

    def reason(self, message: _Message, since_ms: int) -> str | None:
        """Return the suppression of a message that waits since `since_ms`, if any."""
        if message.purpose == "transactional":
            return None
        for event in self.rules.events:
            at = self.silenced.get(event.name)
            lasted = at is not None and at + event.duration_ms > since_ms
            if lasted and event.scope.covers(message):
                return event.name
        silences = (silence for silence in self.silences if silence.silences(message))
        return next((silence.name for silence in silences), None)


def is_retried(state: ContactState, config: Configuration, now_ms: int) -> bool:
    """Return whether a message may wait in an adapter, and so needs a review."""
    if state.by_log or not config.reporting_channels:
        return False
    for part in state.shards.here.values():
        for contact in part.contacts:
            if contact.channel in config.reporting_channels and _is_waiting(contact, now_ms):
                return True
    return False


def cancel(
    key: str, state: ContactState, silencing: CancellationCheck
) -> tuple[ContactState, tuple[Cancellation, ...]]:
    """Return the state of the profile `key` without suppressed messages, and their
    cancellations."""
    cancelled = (
        *_cancel_deferred(key, state, silencing),
        *_cancel_reserved(key, silencing),
    )
    if not cancelled:
        return state, ()
    state = deferral.drop_messages(
        state, lambda deferred, message: silencing.reason(message, deferred.since) is not None
    )
    ids = frozenset(
        cancellation.action_id for cancellation in cancelled if cancellation.action_id is not None
    )
    state = holding.withdraw(state, lambda waiting: waiting.action.action_id in ids)
    here = {name: _end_wait(part, ids, silencing) for name, part in state.shards.here.items()}
    return replace(state, shards=Shards(here, state.shards.away)), cancelled


def _cancel_deferred(
    key: str, state: ContactState, silencing: CancellationCheck
) -> Iterator[Cancellation]:
    for _, deferred in deferral.every(state):
        yield from _of_deferral(key, deferred, silencing)


def _of_deferral(
    key: str, deferred: Deferral, silencing: CancellationCheck
) -> Iterator[Cancellation]:
    for message in deferred.messages:
        reason = silencing.reason(message, deferred.since)
        if reason is not None:
            yield _cancellation(key, message, None, reason, silencing.now_ms)


def _cancel_reserved(key: str, silencing: CancellationCheck) -> Iterator[Cancellation]:
    """Yield the cancellations of messages that wait to be delivered.

    Of messages that exceed a cap the later ones are cancelled, so that among messages that were
    perhaps not shown, only an earlier one displaces another.
    """
    now_ms = silencing.now_ms
    kept = [contact for contact in silencing.contacts if contact.status == "committed"]
    for contact in silencing.contacts:
        if not _is_waiting(contact, now_ms):
            if contact.status == "reserved":
                kept.append(contact)
            continue
        reason = silencing.reason(contact, contact.at)
        if (
            reason is None and contact.channel in silencing.reported
        ):  # else it may have been delivered
            reason = silencing.review.objection(contact, kept)
        if reason is None:
            kept.append(contact)
        else:
            yield _cancellation(key, contact, contact.action_id, reason, now_ms)


def _is_waiting(contact: Contact, now_ms: int) -> bool:
    return (
        contact.status == "reserved"
        and contact.waits_until is not None
        and now_ms < contact.waits_until
    )


def _cancellation(
    key: str, message: _Message, action_id: str | None, reason: str, at: int
) -> Cancellation:
    return Cancellation(
        key,
        action_id,
        message.campaign,
        message.offer,
        message.treatment,
        message.channel,
        at,
        reason,
    )


def _end_wait(part: History, ids: frozenset[str], silencing: CancellationCheck) -> History:
    if not any(contact.action_id in ids for contact in part.contacts):
        return part

    def end_contact(waiting: Contact) -> Contact:
        if waiting.action_id not in ids:
            return waiting
        status = waiting.status if waiting.channel in silencing.reported else "released"
        return replace(waiting, status=status, waits_until=None)

    return replace(part, contacts=tuple(map(end_contact, part.contacts)))
