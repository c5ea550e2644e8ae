"""The parent's side of a link: which evidence a child must be told."""

from msgspec.structs import replace

from pipeline.identity.state import Child, IdentityState
from pipeline.model.identity import Evidence


def observe(
    state: IdentityState, child: str, evidence: Evidence
) -> tuple[IdentityState, Evidence | None]:
    """An interaction showed `child` with this identifier; returns what the child must be told."""
    known = state.children.get(child)
    if known is None:
        return _keep(state, child, Child(evidence, evidence, follows=True)), evidence
    seen = max(known.seen, evidence)
    if known.follows or seen <= known.told:
        return _keep(state, child, replace(known, seen=seen)), None
    return _keep(state, child, Child(seen, seen, follows=True)), seen


def release(state: IdentityState, child: str) -> tuple[IdentityState, Evidence | None]:
    """`child` follows another; returns evidence that it has not heard, which may win it back."""
    known = state.children.get(child)
    if known is None:
        return state, None
    if known.seen > known.told:
        return _keep(state, child, Child(known.seen, known.seen, follows=True)), known.seen
    return _keep(state, child, replace(known, follows=False)), None


def _keep(state: IdentityState, name: str, child: Child) -> IdentityState:
    if state.children.get(name) == child:
        return state
    return replace(state, children={**state.children, name: child})
