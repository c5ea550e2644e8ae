"""Contact history of a customer: contacts, their outcomes, suppressions and holdouts."""

from collections.abc import Iterable, Mapping
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from pipeline.decisioning.state import ContactState, History
from pipeline.model.decision import Assignment, Contact
from pipeline.model.shards import Shards
from pipeline.model.time import GRACE_MS

Status = Literal["reserved", "committed", "released"]

STATUS_BY_OUTCOME: Final[dict[str, Status]] = {
    "sent": "committed",
    "delivered": "committed",
    "impression": "committed",
    "click": "committed",
    "dismiss": "committed",
    "conversion": "committed",
    "complaint": "committed",
    "bounce": "released",
    "expired": "released",
}
"""Status of a contact after each outcome; `released`: it no longer counts under caps."""

RELEASING_OUTCOMES: Final = frozenset(
    name for name, status in STATUS_BY_OUTCOME.items() if status == "released"
)
"""Outcomes by which a contact is released."""

TIMED_OUTCOMES: Final = frozenset(
    ("impression", "click", "dismiss", "conversion", "complaint", "bounce")
)
"""Outcomes whose times suppressions count."""

MAX_TIMES: Final = 20
"""Maximum of times stored of one outcome of one message, the latest ones."""


class CustomerHistory(Struct, frozen=True):
    """History of a customer over all shards.

    `contacts` are sorted by time, ties by action id.
    """

    contacts: tuple[Contact, ...] = ()
    suppression_times: dict[str, int] = {}
    holdouts: dict[str, Assignment] = {}


def customer_history(state: ContactState) -> CustomerHistory:
    """Return the history of the customer, merged from all shards."""
    parts = list(state.shards.here.values())
    if len(parts) == 1:
        [part] = parts
        return CustomerHistory(part.contacts, part.silenced, part.holdouts)
    total = History()
    for part in parts:
        total = merge(total, part)
    return CustomerHistory(total.contacts, total.silenced, total.holdouts)


def extend(history: CustomerHistory, additions: History) -> CustomerHistory:
    """Return the history with `additions`."""
    if additions == _EMPTY_HISTORY:
        return history
    total = merge(History(history.contacts, history.suppression_times, history.holdouts), additions)
    return CustomerHistory(total.contacts, total.silenced, total.holdouts)


def add(
    state: ContactState, shard: str, additions: History, now_ms: int, retention_ms: int
) -> ContactState:
    """Return the state with `additions`, without contacts and suppressions that are older than
    `retention_ms` and than the grace, which no policy counts."""
    if additions == _EMPTY_HISTORY:
        return state
    former_part = state.shards.here.get(shard, _EMPTY_HISTORY)
    since_ms = now_ms - max(retention_ms, GRACE_MS)
    contacts = [contact for contact in former_part.contacts if contact.at > since_ms]
    is_unordered = additions.contacts and contacts and additions.contacts[0].at < contacts[-1].at
    contacts.extend(additions.contacts)
    suppression_times, holdouts = former_part.silenced, former_part.holdouts
    if suppression_times or additions.silenced:
        recent_times = {
            name: time_ms for name, time_ms in suppression_times.items() if time_ms > since_ms
        }
        suppression_times = _merge_times(recent_times, additions.silenced)
    if additions.holdouts:
        holdouts = _merge_draws(holdouts, additions.holdouts)
    sorted_contacts = _sort(contacts) if is_unordered else tuple(contacts)
    waiting_actions = (*former_part.awaiting, *additions.awaiting)
    deferrals = (*former_part.deferred, *additions.deferred)
    part = History(sorted_contacts, suppression_times, holdouts, waiting_actions, deferrals)
    return replace(state, shards=state.shards.put(shard, part))


def apply_outcome(state: ContactState, action_id: str, outcome: str, time_ms: int) -> ContactState:
    """Return the state after `outcome` of an action at `time_ms`; unchanged for an unknown action.

    A committed contact stays committed.
    """
    status = STATUS_BY_OUTCOME.get(outcome)
    if status is None:
        return state
    parts = {
        name: _apply_to_part(part, action_id, outcome, time_ms)
        for name, part in state.shards.here.items()
    }
    return replace(state, shards=Shards(parts, state.shards.away))


def merge(a: History, b: History) -> History:
    """Merge both histories, each action once; a status committed in either stays committed."""
    contacts: dict[str, Contact] = {}
    for contact in (*a.contacts, *b.contacts):
        former_contact = contacts.get(contact.action_id)
        contacts[contact.action_id] = (
            contact if former_contact is None else _merge_contacts(former_contact, contact)
        )
    return History(
        _sort(contacts.values()),
        _merge_times(a.silenced, b.silenced),
        _merge_draws(a.holdouts, b.holdouts),
        tuple({action.action.action_id: action for action in (*a.awaiting, *b.awaiting)}.values()),
        tuple(
            {
                (deferral.first, deferral.until): deferral
                for deferral in (*a.deferred, *b.deferred)
            }.values()
        ),
    )


_EMPTY_HISTORY: Final = History()
_STRENGTH: Final[dict[Status, int]] = {"reserved": 0, "released": 1, "committed": 2}


def _sort(contacts: Iterable[Contact]) -> tuple[Contact, ...]:
    return tuple(sorted(contacts, key=lambda contact: (contact.at, contact.action_id)))


def _merge_contacts(contact: Contact, other: Contact) -> Contact:
    stronger_contact = contact if _STRENGTH[contact.status] >= _STRENGTH[other.status] else other
    outcomes = {
        kind: _last_times({*contact.outcomes.get(kind, ()), *other.outcomes.get(kind, ())})
        for kind in contact.outcomes.keys() | other.outcomes.keys()
    }
    return replace(stronger_contact, outcomes=dict(sorted(outcomes.items())))


def _merge_times(times: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {
        name: max(times.get(name, time_ms), other.get(name, time_ms))
        for name, time_ms in {**times, **other}.items()
    }


def _merge_draws(
    draws: Mapping[str, Assignment], other: Mapping[str, Assignment]
) -> dict[str, Assignment]:
    """Return the first draw of each holdout, with `conflict` where the draws differ."""
    return {name: _merge_draw(draws.get(name), other.get(name)) for name in {**draws, **other}}


def _merge_draw(draw: Assignment | None, other: Assignment | None) -> Assignment:
    if draw is None or other is None:
        present_draw = draw or other
        assert present_draw is not None
        return present_draw
    first_draw = min(draw, other, key=lambda candidate: (candidate.at, not candidate.held))
    conflict = draw.conflict or other.conflict or draw.held is not other.held
    return replace(first_draw, conflict=conflict)


def _last_times(times: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(times)[-MAX_TIMES:])


def _apply_to_part(part: History, action_id: str, outcome: str, time_ms: int) -> History:
    contacts = tuple(
        _apply_to_contact(contact, outcome, time_ms) if contact.action_id == action_id else contact
        for contact in part.contacts
    )
    return replace(part, contacts=contacts)


def _apply_to_contact(contact: Contact, outcome: str, time_ms: int) -> Contact:
    status, outcomes = STATUS_BY_OUTCOME[outcome], contact.outcomes
    if _STRENGTH[status] <= _STRENGTH[contact.status]:
        status = contact.status
    if outcome in TIMED_OUTCOMES:
        outcomes = {**outcomes, outcome: _last_times((*outcomes.get(outcome, ()), time_ms))}
    return replace(contact, status=status, outcomes=outcomes)
