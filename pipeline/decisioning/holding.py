"""Actions held until their address's own row confirms that it is the customer's.

What an interaction shows may be another person's by the address's own row, which processes it a
moment later. So an action to such an address is decided, and counts under the caps and budgets, but
is not sent before that row has joined the profile; when it does not, the action is withdrawn. What
it reserved is free again then, and at its deadline if nothing is reported by then.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from msgspec.structs import replace

from pipeline.config.compiled import CompiledCandidate
from pipeline.decisioning.eligibility import Moment
from pipeline.decisioning.state import AwaitingAction, ContactState, History
from pipeline.model.belongings import Belonging
from pipeline.model.decision import Action, Contact, Spend
from pipeline.model.shards import Shards
from pipeline.model.time import MINUTE_MS

_REPORTED_MS: Final = 5 * MINUTE_MS
"""Time after its deadline by which it is reported whether a message was sent."""


def hold(action: Action, candidate: CompiledCandidate, moment: Moment) -> AwaitingAction | None:
    """Return the action to hold until its address is confirmed; None: send it now.

    Answers to a request never wait.
    """
    namespace, confirm_ms = candidate.address, candidate.confirm_ms
    if namespace is None or action.placement is not None:
        return None
    identifier = f"{namespace}:{action.address}"
    shown_at = moment.shown.get(identifier)
    belonging = moment.belongings.get(identifier)
    if shown_at is None or (belonging is not None and belonging.here):
        return None
    until = None if confirm_ms is None else action.created_at + confirm_ms
    return AwaitingAction(identifier, shown_at, action, until)


def bound_contacts(
    contacts: Iterable[Contact], waiting: Iterable[AwaitingAction]
) -> tuple[Contact, ...]:
    """Return the contacts, of which those that wait count up to their deadlines only."""
    deadlines = _deadlines(waiting)
    if not deadlines:
        return tuple(contacts)
    return tuple(
        replace(one, until=_earliest_end(one.until, deadlines[one.action_id]))
        if one.action_id in deadlines
        else one
        for one in contacts
    )


def bound_spends(spends: Iterable[Spend], waiting: Iterable[AwaitingAction]) -> tuple[Spend, ...]:
    """Return the spent tokens; a waiting message gives its tokens back after its deadline, unless
    its fate is reported before."""
    deadlines = _deadlines(waiting)
    if not deadlines:
        return tuple(spends)
    return tuple(
        replace(one, until=_earliest_end(one.until, deadlines[one.action_id] + _REPORTED_MS))
        if one.action_id in deadlines
        else one
        for one in spends
    )


def _deadlines(waiting: Iterable[AwaitingAction]) -> dict[str, int]:
    return {one.action.action_id: one.action.deadline_at for one in waiting}


def _earliest_end(until: int | None, deadline_at: int) -> int:
    return deadline_at if until is None else min(until, deadline_at)


def confirm(state: ContactState, now_ms: int) -> tuple[ContactState, tuple[Action, ...]]:
    """Return the state after sending the actions whose addresses are confirmed, and these actions.

    Those whose address is another's, or that are too late, are withdrawn.
    """
    confirmed = tuple(
        one
        for part in state.shards.here.values()
        for one in part.awaiting
        if one.action.deadline_at > now_ms and _is_here(state.belongings.get(one.identifier))
    )
    untils = {one.action.action_id: one.until for one in confirmed}
    state = withdraw(
        state,
        lambda one: (
            one.action.action_id not in untils
            and (one.action.deadline_at <= now_ms or _is_void(one, state.belongings))
        ),
    )
    here = {name: _send_actions(part, untils) for name, part in state.shards.here.items()}
    sent = tuple(one.action for one in confirmed)
    return replace(state, shards=Shards(here, state.shards.away)), sent


def _send_actions(part: History, untils: Mapping[str, int | None]) -> History:
    """Return the history without the actions that are sent, which count from now on as usual."""
    if not any(one.action.action_id in untils for one in part.awaiting):
        return part
    return replace(
        part,
        contacts=tuple(
            replace(one, until=untils[one.action_id]) if one.action_id in untils else one
            for one in part.contacts
        ),
        awaiting=tuple(one for one in part.awaiting if one.action.action_id not in untils),
    )


def deny(state: ContactState, identifier: str | None, until_ms: int | None) -> ContactState:
    """Withdraw the actions that wait for an identifier, shown up to `until_ms` (None: whenever)."""
    return withdraw(
        state,
        lambda one: one.identifier == identifier and (until_ms is None or one.shown_at <= until_ms),
    )


def _is_here(belonging: Belonging | None) -> bool:
    return belonging is not None and belonging.here


def _is_void(one: AwaitingAction, belongings: dict[str, Belonging]) -> bool:
    """Return whether the address's row knew of `shown_at` when it gave the address to another."""
    belonging = belongings.get(one.identifier)
    return belonging is not None and not belonging.here and belonging.as_of >= one.shown_at


def withdraw(state: ContactState, gone: Callable[[AwaitingAction], bool]) -> ContactState:
    """Return the state without the actions that are `gone`, and their places under the caps."""
    here = {name: _remove_actions(part, gone) for name, part in state.shards.here.items()}
    return replace(state, shards=Shards(here, state.shards.away))


def _remove_actions(part: History, gone: Callable[[AwaitingAction], bool]) -> History:
    """Remove actions that are never sent; their place under the caps is free again."""
    ids = {one.action.action_id for one in part.awaiting if gone(one)}
    if not ids:
        return part
    return replace(
        part,
        contacts=tuple(one for one in part.contacts if one.action_id not in ids),
        awaiting=tuple(one for one in part.awaiting if one.action.action_id not in ids),
    )
