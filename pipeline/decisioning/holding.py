"""Actions held until the row of their address confirms that it belongs to the customer.

An address in an interaction may belong to another person by the address's own row, which processes
the interaction a moment later. So an action to such an address is decided, and counts under caps
and budgets, but is not sent before that row has joined the profile; otherwise it is withdrawn. Its
reservations are released then, or at its deadline if no report has come.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

from msgspec.structs import replace

from pipeline.config.compiled import CompiledCandidate
from pipeline.decisioning.eligibility import Moment
from pipeline.decisioning.state import AwaitingAction, ContactState, History
from pipeline.model import topics
from pipeline.model.belongings import Belonging
from pipeline.model.decision import Action, Contact, Spend
from pipeline.model.outcome import Emit, RowTransition
from pipeline.model.shards import Shards
from pipeline.model.time import MINUTE_MS

_REPORT_MS: Final = 5 * MINUTE_MS
"""Time after a message's deadline within which its fate is reported."""


def hold(action: Action, candidate: CompiledCandidate, moment: Moment) -> AwaitingAction | None:
    """Return the action to hold until its address is confirmed; None: send it now.

    Answers to a request never wait.
    """
    namespace, confirm_ms = candidate.address, candidate.confirm_ms
    if namespace is None or action.placement is not None:
        return None
    identifier = f"{namespace}:{action.address}"
    shown_at = moment.shown_times.get(identifier)
    belonging = moment.belongings.get(identifier)
    if shown_at is None or (belonging is not None and belonging.here):
        return None
    until = None if confirm_ms is None else action.created_at + confirm_ms
    return AwaitingAction(identifier, shown_at, action, until)


def limit_contacts(
    contacts: Iterable[Contact], waiting_actions: Iterable[AwaitingAction]
) -> tuple[Contact, ...]:
    """Return the contacts; those of waiting actions count up to their deadlines only."""
    deadlines = _deadlines(waiting_actions)
    if not deadlines:
        return tuple(contacts)
    return tuple(
        replace(contact, until=_earliest_end(contact.until, deadlines[contact.action_id]))
        if contact.action_id in deadlines
        else contact
        for contact in contacts
    )


def limit_spends(
    spends: Iterable[Spend], waiting_actions: Iterable[AwaitingAction]
) -> tuple[Spend, ...]:
    """Return the spends; those of a waiting message are released after its deadline, unless its
    fate is reported before."""
    deadlines = _deadlines(waiting_actions)
    if not deadlines:
        return tuple(spends)
    return tuple(
        replace(spend, until=_earliest_end(spend.until, deadlines[spend.action_id] + _REPORT_MS))
        if spend.action_id in deadlines
        else spend
        for spend in spends
    )


def _deadlines(waiting_actions: Iterable[AwaitingAction]) -> dict[str, int]:
    return {
        waiting_action.action.action_id: waiting_action.action.deadline_at
        for waiting_action in waiting_actions
    }


def _earliest_end(until: int | None, deadline_at: int) -> int:
    return deadline_at if until is None else min(until, deadline_at)


def confirm(key: str, state: ContactState, now_ms: int) -> RowTransition[ContactState]:
    """Send the actions whose addresses are confirmed, as actions of the profile `key`: they may
    have come with a shard of another profile.

    Actions past their deadline, or to another person's address, are withdrawn.
    """
    ready_actions = tuple(
        waiting_action
        for part in state.shards.here.values()
        for waiting_action in part.awaiting
        if waiting_action.action.deadline_at > now_ms
        and _is_here(state.belongings.get(waiting_action.identifier))
    )
    report_deadlines = {
        waiting_action.action.action_id: waiting_action.until for waiting_action in ready_actions
    }
    state = withdraw(
        state,
        lambda waiting_action: (
            waiting_action.action.action_id not in report_deadlines
            and (
                waiting_action.action.deadline_at <= now_ms
                or _is_void(waiting_action, state.belongings)
            )
        ),
    )
    parts = {
        name: _send_actions(part, report_deadlines) for name, part in state.shards.here.items()
    }
    actions = (replace(ready_action.action, profile_id=key) for ready_action in ready_actions)
    return RowTransition(
        replace(state, shards=Shards(parts, state.shards.away)),
        tuple(Emit(topics.actions(action.channel), key, action) for action in actions),
    )


def _send_actions(part: History, report_deadlines: Mapping[str, int | None]) -> History:
    """Return the history without the sent actions, whose contacts count as usual from now on."""
    if not any(
        waiting_action.action.action_id in report_deadlines for waiting_action in part.awaiting
    ):
        return part
    return replace(
        part,
        contacts=tuple(
            replace(contact, until=report_deadlines[contact.action_id])
            if contact.action_id in report_deadlines
            else contact
            for contact in part.contacts
        ),
        awaiting=tuple(
            waiting_action
            for waiting_action in part.awaiting
            if waiting_action.action.action_id not in report_deadlines
        ),
    )


def deny(state: ContactState, identifier: str | None, until_ms: int | None) -> ContactState:
    """Withdraw the actions that wait for an identifier shown up to `until_ms` (None: at any
    time)."""
    return withdraw(
        state,
        lambda waiting_action: (
            waiting_action.identifier == identifier
            and (until_ms is None or waiting_action.shown_at <= until_ms)
        ),
    )


def _is_here(belonging: Belonging | None) -> bool:
    return belonging is not None and belonging.here


def _is_void(waiting_action: AwaitingAction, belongings: dict[str, Belonging]) -> bool:
    """Return whether the address's row had processed `shown_at` when it reported another owner."""
    belonging = belongings.get(waiting_action.identifier)
    return (
        belonging is not None and not belonging.here and belonging.as_of >= waiting_action.shown_at
    )


def withdraw(
    state: ContactState,
    is_withdrawn: Callable[[AwaitingAction], bool],
    shards: Collection[str] | None = None,
) -> ContactState:
    """Return the state without the actions of `shards` (None: of all) for which `is_withdrawn`
    holds, and their contacts."""
    parts = {
        name: _remove_actions(part, is_withdrawn) if shards is None or name in shards else part
        for name, part in state.shards.here.items()
    }
    return replace(state, shards=Shards(parts, state.shards.away))


def _remove_actions(part: History, is_removed: Callable[[AwaitingAction], bool]) -> History:
    """Remove unsent actions and their contacts, which then no longer count under caps."""
    ids = {
        waiting_action.action.action_id
        for waiting_action in part.awaiting
        if is_removed(waiting_action)
    }
    if not ids:
        return part
    return replace(
        part,
        contacts=tuple(contact for contact in part.contacts if contact.action_id not in ids),
        awaiting=tuple(
            waiting_action
            for waiting_action in part.awaiting
            if waiting_action.action.action_id not in ids
        ),
    )
