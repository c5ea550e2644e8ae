"""Cancelling: withdrawal of messages that wait, to be sent or decided again, once they are
silenced.

A message waits from the moment when it was decided. It is cancelled by an interaction that
suppresses it, received at any time since, also of a profile that merged with this one; and by an
outcome that does, as long as that lasts. What is cancelled in an adapter keeps its place under the
caps until the adapter reports it as not delivered, for it may just have been; on a channel without
one, it gives it back at once.
"""

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from pipeline.config.compile import Configuration
from pipeline.config.compiled import Constraints
from pipeline.decisioning import deferral, holding, suppressions
from pipeline.decisioning.history import Remembered
from pipeline.decisioning.state import ContactState, Deferral, History
from pipeline.decisioning.suppressions import Silence
from pipeline.model.decision import Cancellation, Contact, DeferredMessage
from pipeline.model.shards import Shards

_Message: TypeAlias = Contact | DeferredMessage


class Silencing(Struct, frozen=True):
    """Suppressions of a customer at `now_ms`. `silenced`: when interactions last caused which;
    `silences`: those in force; `reported`: channels whose adapter reports what it did not deliver.
    """

    rules: Constraints
    silenced: dict[str, int]
    silences: tuple[Silence, ...]
    reported: frozenset[str]
    now_ms: int

    @classmethod
    def of(cls, config: Configuration, known: Remembered, now_ms: int) -> "Silencing":
        """Return the suppressions by the whole history of the customer."""
        rules = config.constraints
        found = suppressions.in_force(rules, known.silenced, known.contacts, now_ms)
        channels = config.channels.values()
        reported = frozenset(one.name for one in channels if one.adapter != "none")
        return cls(rules, known.silenced, found, reported, now_ms)

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


def cancel(
    key: str, state: ContactState, silencing: Silencing
) -> tuple[ContactState, tuple[Cancellation, ...]]:
    """Return the state of the profile `key` without what is silenced, and what was cancelled."""
    cancelled = (
        *_cancel_deferred(key, state, silencing),
        *_cancel_reserved(key, state, silencing),
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


def _cancel_reserved(key: str, state: ContactState, silencing: Silencing) -> Iterator[Cancellation]:
    for part in state.shards.here.values():
        for one in _waiting(part.contacts, silencing.now_ms):
            why = silencing.reason(one, one.at)
            if why is not None:
                yield _cancellation(key, one, one.action_id, why, silencing.now_ms)


def _waiting(contacts: Iterable[Contact], now_ms: int) -> Iterator[Contact]:
    for one in contacts:
        if one.status == "reserved" and one.waits_until is not None and now_ms < one.waits_until:
            yield one


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
