"""Actions held until their address's own row confirms that it is the customer's.

What an interaction shows may be another person's by the address's own row, which hears of it a
moment later. So an action to such an address is decided, and counts under the caps, but is not
sent before that row has joined the profile; when it does not, the action is withdrawn.
"""

from collections.abc import Callable

from msgspec.structs import replace

from pipeline.decisioning.eligibility import Moment
from pipeline.decisioning.state import AwaitingAction, ContactState, History
from pipeline.model.belongings import Belonging
from pipeline.model.decision import Action
from pipeline.model.shards import Shards


def hold(action: Action, namespace: str | None, moment: Moment) -> AwaitingAction | None:
    """Return the action to hold until its address is confirmed; None: send it now.

    Answers to a request never wait.
    """
    if namespace is None or action.placement is not None:
        return None
    identifier = f"{namespace}:{action.address}"
    shown_at = moment.shown.get(identifier)
    belonging = moment.belongings.get(identifier)
    if shown_at is None or (belonging is not None and belonging.here):
        return None
    return AwaitingAction(identifier, shown_at, action)


def confirm(state: ContactState, now_ms: int) -> tuple[ContactState, tuple[Action, ...]]:
    """Return the state after sending the actions whose addresses are confirmed, and these actions.

    Those whose address is another's, or that are too late, are withdrawn.
    """
    sent = tuple(
        one.action
        for part in state.shards.here.values()
        for one in part.awaiting
        if one.action.deadline_at > now_ms and _is_here(state.belongings.get(one.identifier))
    )
    ids = {one.action_id for one in sent}
    state = withdraw(
        state,
        lambda one: (
            one.action.action_id not in ids
            and (one.action.deadline_at <= now_ms or _is_void(one, state.belongings))
        ),
    )
    here = {
        name: replace(
            part,
            awaiting=tuple(one for one in part.awaiting if one.action.action_id not in ids),
        )
        for name, part in state.shards.here.items()
    }
    return replace(state, shards=Shards(here, state.shards.away)), sent


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
