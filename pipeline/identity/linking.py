"""Both sides of a link: evidence that a child must get, and its effect on the child."""

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from pipeline.config.identity import IdentityRules
from pipeline.identity.state import Child, IdentityState, Parent
from pipeline.model.identity import Evidence, IdentityChange
from pipeline.model.interaction import Identifier


class ShownLink(Struct, frozen=True):
    """Row of a parent after an interaction showed a child, and evidence that the child must get.

    `outdated`: the child has followed another, or was unlinked, since; `refused`: the parent has
    too many already.
    """

    state: IdentityState
    fate: Literal["linked", "outdated", "refused"] = "linked"
    news: Evidence | None = None


def observe(
    state: IdentityState, child: Identifier, evidence: Evidence, rules: IdentityRules
) -> ShownLink:
    """Record that an interaction showed `child` with the stronger identifier of this row."""
    key = child.key
    if not state.counts(key, evidence):
        return ShownLink(state, "outdated")
    known = state.children.get(key)
    if known is None:
        if _is_full(state, child.namespace, rules):
            return ShownLink(state, "refused")
        shown = _set_child(state, key, Child(evidence, evidence, follows=True))
        return ShownLink(shown, news=evidence)
    seen = max(known.seen, evidence)
    if known.follows:
        return ShownLink(_set_child(state, key, replace(known, seen=seen)))
    if seen <= known.sent:
        return ShownLink(state, "outdated")
    return ShownLink(_set_child(state, key, Child(seen, seen, follows=True)), news=seen)


def release(state: IdentityState, child: str) -> tuple[IdentityState, Evidence | None]:
    """Let `child` follow another; return unsent evidence, which may win the child back."""
    known = state.children.get(child)
    if known is None:
        return state, None
    if known.seen > known.sent and state.counts(child, known.seen):
        return _set_child(state, child, Child(known.seen, known.seen, follows=True)), known.seen
    return _set_child(state, child, replace(known, follows=False, confirmed=False)), None


def rejoin(state: IdentityState, child: str) -> IdentityState:
    """Record that `child` reports that it follows."""
    return _set_child(state, child, replace(state.children[child], follows=True, confirmed=True))


def unconfirmed_children(state: IdentityState) -> dict[str, int]:
    """Return the children that have not answered yet, with the time (ms) of their evidence."""
    return {
        name: child.sent.occurred_at
        for name, child in state.children.items()
        if child.follows and not child.confirmed
    }


def apply_parent_report(
    state: IdentityState, change: IdentityChange, parent: str, root: str
) -> IdentityState:
    """Return the row after its `parent` reported evidence (`link`) or a new top.

    Each part of what is known only ever becomes newer.
    """
    evidence = change.evidence
    if evidence is not None and not state.counts(parent, evidence):
        evidence = None
    known = state.parents.get(parent)
    if known is None:
        return _set_parent(state, parent, Parent(evidence, root, change.version))
    best = max(filter(None, (known.evidence, evidence)), default=None)
    if change.version < known.version:
        return _set_parent(state, parent, replace(known, evidence=best))
    return _set_parent(state, parent, Parent(best, root, change.version))


def disconnect(
    state: IdentityState, other: str, until_ms: int
) -> tuple[IdentityState, Evidence | None]:
    """Cut the link with `other`, the stronger or the weaker one, until newer evidence comes.

    Return the evidence of it that the other end has not received.
    """
    if state.cuts.get(other, -1) >= until_ms:
        return state, None
    state = replace(state, cuts={**state.cuts, other: until_ms})
    known = state.parents.get(other)
    if known is not None and known.evidence and not state.counts(other, known.evidence):
        without = replace(known, evidence=None)
        state = replace(state, parents={**state.parents, other: without})
    child = state.children.get(other)
    if child is None or state.counts(other, child.sent):
        return state, None
    return release(state, other)


def _set_parent(state: IdentityState, name: str, parent: Parent) -> IdentityState:
    known = state.parents.get(name)
    begins = parent.evidence is not None and (known is None or known.evidence is None)
    rest = {
        parent_name: kept
        for parent_name, kept in state.parents.items()
        if not (begins and parent_name == name)
    }
    return replace(state, parents={**rest, name: parent})


def _is_full(state: IdentityState, namespace: str, rules: IdentityRules) -> bool:
    """Return whether the row has the most children; one that left still counts, because its past is
    here."""
    if len(state.children) + 2 > rules.max_identifiers:
        return True
    limit = rules.limits.get(namespace)
    if limit is None:
        return False
    return sum(Identifier.parse(key).namespace == namespace for key in state.children) >= limit


def _set_child(state: IdentityState, name: str, child: Child) -> IdentityState:
    if state.children.get(name) == child:
        return state
    return replace(state, children={**state.children, name: child})
