"""Cancellation of messages that wait to be sent or decided again, once they are suppressed.

A message waits from its decision on. It is cancelled by an interaction that suppresses it, received
at any time since, also by a profile that merged with this one; and by an outcome that suppresses
it, as long as the suppression lasts. A decided message is also cancelled once newer facts rule it
out (`review.py`). On a channel whose adapter reports outcomes, a cancelled message counts under the
caps until the adapter reports it as not delivered, since the adapter may just have sent it; on
other channels it stops counting at once.
"""

from collections.abc import Iterator
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from pipeline.config.compile import Configuration
from pipeline.config.compiled import Constraints
from pipeline.decisioning import holding, suppressions
from pipeline.decisioning.deferral import all_deferrals, drop_messages
from pipeline.decisioning.history import CustomerHistory
from pipeline.decisioning.review import Review
from pipeline.decisioning.state import ContactState, Deferral, History
from pipeline.decisioning.suppressions import ActiveSuppression
from pipeline.model import topics
from pipeline.model.decision import Cancellation, Contact, DeferredMessage
from pipeline.model.outcome import Emit, RowTransition
from pipeline.model.shards import Shards

_Message: TypeAlias = Contact | DeferredMessage


class CancellationCheck(Struct, frozen=True):
    """Suppressions and rules by which a customer's waiting messages are cancelled.

    `contacts`: all contacts, by time; `suppression_times`: time of the last interaction that caused
    each suppression; `suppressions`: the suppressions in force.
    """

    contacts: tuple[Contact, ...]
    suppression_times: dict[str, int]
    suppressions: tuple[ActiveSuppression, ...]
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
    def reporting_channels(self) -> frozenset[str]:
        """Channels whose adapter reports undelivered messages."""
        return self.review.config.reporting_channels

    @classmethod
    def of(cls, history: CustomerHistory, review: Review) -> "CancellationCheck":
        """Return the check by the whole history of the customer."""
        rules, now_ms = review.config.constraints, review.now_ms
        active_suppressions = suppressions.active_suppressions(
            rules, history.suppression_times, history.contacts, now_ms
        )
        return cls(history.contacts, history.suppression_times, active_suppressions, review)

    def reason(self, message: _Message, since_ms: int) -> str | None:
        """Return the suppression of a message that waits since `since_ms`, if any."""
        if message.purpose == "transactional":
            return None
        for rule in self.rules.event_suppressions:
            start_ms = self.suppression_times.get(rule.name)
            is_lasting = start_ms is not None and start_ms + rule.duration_ms > since_ms
            if is_lasting and rule.scope.covers(message):
                return rule.name
        names = (
            suppression.name for suppression in self.suppressions if suppression.covers(message)
        )
        return next(names, None)


def needs_review(state: ContactState, config: Configuration, now_ms: int) -> bool:
    """Return whether a message may wait in an adapter, and so needs a review."""
    if state.by_log or not config.reporting_channels:
        return False
    for part in state.shards.here.values():
        for contact in part.contacts:
            if contact.channel in config.reporting_channels and _is_waiting(contact, now_ms):
                return True
    return False


def cancel(key: str, state: ContactState, check: CancellationCheck) -> RowTransition[ContactState]:
    """Cancel the suppressed messages of the profile `key`, and those that the review rules out."""
    cancellations = (
        *_cancel_deferred(key, state, check),
        *_cancel_reserved(key, check),
    )
    if not cancellations:
        return RowTransition(state)
    state = drop_messages(
        state, lambda deferral, message: check.reason(message, deferral.since) is not None
    )
    ids = frozenset(
        cancellation.action_id
        for cancellation in cancellations
        if cancellation.action_id is not None
    )
    state = holding.withdraw(state, lambda waiting_action: waiting_action.action.action_id in ids)
    parts = {name: _end_wait(part, ids, check) for name, part in state.shards.here.items()}
    return RowTransition(
        replace(state, shards=Shards(parts, state.shards.away)),
        tuple(Emit(topics.CANCELLATIONS, key, cancellation) for cancellation in cancellations),
    )


def _cancel_deferred(
    key: str, state: ContactState, check: CancellationCheck
) -> Iterator[Cancellation]:
    for _, deferral in all_deferrals(state):
        yield from _cancel_messages(key, deferral, check)


def _cancel_messages(
    key: str, deferral: Deferral, check: CancellationCheck
) -> Iterator[Cancellation]:
    for message in deferral.messages:
        reason = check.reason(message, deferral.since)
        if reason is not None:
            yield _cancellation(key, message, None, reason, check.now_ms)


def _cancel_reserved(key: str, check: CancellationCheck) -> Iterator[Cancellation]:
    """Yield the cancellations of messages that wait to be delivered.

    Of messages that exceed a cap the later ones are cancelled, so that among messages that were
    perhaps not shown, only an earlier one displaces another.
    """
    now_ms = check.now_ms
    counting_contacts = [contact for contact in check.contacts if contact.status == "committed"]
    for contact in check.contacts:
        if not _is_waiting(contact, now_ms):
            if contact.status == "reserved":
                counting_contacts.append(contact)
            continue
        reason = check.reason(contact, contact.at)
        # On other channels the message may have been delivered.
        if reason is None and contact.channel in check.reporting_channels:
            reason = check.review.objection(contact, counting_contacts)
        if reason is None:
            counting_contacts.append(contact)
        else:
            yield _cancellation(key, contact, contact.action_id, reason, now_ms)


def _is_waiting(contact: Contact, now_ms: int) -> bool:
    return (
        contact.status == "reserved"
        and contact.waits_until is not None
        and now_ms < contact.waits_until
    )


def _cancellation(
    key: str, message: _Message, action_id: str | None, reason: str, cancelled_at: int
) -> Cancellation:
    return Cancellation(
        key,
        action_id,
        message.campaign,
        message.offer,
        message.treatment,
        message.channel,
        cancelled_at,
        reason,
    )


def _end_wait(part: History, ids: frozenset[str], check: CancellationCheck) -> History:
    if not any(contact.action_id in ids for contact in part.contacts):
        return part

    def end_contact(contact: Contact) -> Contact:
        if contact.action_id not in ids:
            return contact
        status = contact.status if contact.channel in check.reporting_channels else "released"
        return replace(contact, status=status, waits_until=None)

    return replace(part, contacts=tuple(map(end_contact, part.contacts)))
