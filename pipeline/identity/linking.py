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

    `fate` is `outdated` if the child has followed another since, or was unlinked; `refused` if the
    parent has too many children already.
    """

    state: IdentityState
    fate: Literal["linked", "outdated", "refused"] = "linked"
    unsent_evidence: Evidence | None = None


def observe(
    state: IdentityState, child: Identifier, evidence: Evidence, rules: IdentityRules
) -> ShownLink:
    """Record that an interaction showed `child` with the stronger identifier of this row."""
    key = child.key
    if not state.counts(key, evidence):
        return ShownLink(state, "outdated")
    former_child = state.children.get(key)
    if former_child is None:
        if _is_full(state, child.namespace, rules):
            return ShownLink(state, "refused")
        linked_row = _set_child(state, key, Child(evidence, evidence, is_following=True))
        return ShownLink(linked_row, unsent_evidence=evidence)
    latest_evidence = max(former_child.seen, evidence)
    if former_child.is_following:
        return ShownLink(_set_child(state, key, replace(former_child, seen=latest_evidence)))
    if latest_evidence <= former_child.sent:
        return ShownLink(state, "outdated")
    return ShownLink(
        _set_child(state, key, Child(latest_evidence, latest_evidence, is_following=True)),
        unsent_evidence=latest_evidence,
    )


class LinkChange(Struct, frozen=True):
    """Row after a link has changed, and evidence of the link that the child has not received."""

    state: IdentityState
    unsent_evidence: Evidence | None = None


def release(state: IdentityState, child: str) -> LinkChange:
    """Let `child` follow another; unsent evidence may win the child back."""
    former_child = state.children.get(child)
    if former_child is None:
        return LinkChange(state)
    if former_child.seen > former_child.sent and state.counts(child, former_child.seen):
        evidence = former_child.seen
        linked_row = _set_child(state, child, Child(evidence, evidence, is_following=True))
        return LinkChange(linked_row, evidence)
    return LinkChange(
        _set_child(state, child, replace(former_child, is_following=False, is_confirmed=False))
    )


def rejoin(state: IdentityState, child: str) -> IdentityState:
    """Record that `child` reports that it follows."""
    return _set_child(
        state, child, replace(state.children[child], is_following=True, is_confirmed=True)
    )


def unconfirmed_children(state: IdentityState) -> dict[str, int]:
    """Return the children that have not answered yet, with the time (ms) of their evidence."""
    return {
        name: child.sent.occurred_at
        for name, child in state.children.items()
        if child.is_following and not child.is_confirmed
    }


def apply_parent_report(
    state: IdentityState, change: IdentityChange, parent: str, root: str
) -> IdentityState:
    """Return the row after its `parent` reported evidence (`link`) or a new top.

    Evidence and top are replaced by newer ones only.
    """
    evidence = change.evidence
    if evidence is not None and not state.counts(parent, evidence):
        evidence = None
    former_parent = state.parents.get(parent)
    if former_parent is None:
        return _set_parent(state, parent, Parent(evidence, root, change.version))
    latest_evidence = max(filter(None, (former_parent.evidence, evidence)), default=None)
    if change.version < former_parent.version:
        return _set_parent(state, parent, replace(former_parent, evidence=latest_evidence))
    return _set_parent(state, parent, Parent(latest_evidence, root, change.version))


def disconnect(state: IdentityState, other: str, until_ms: int) -> LinkChange:
    """Cut the link with `other`, a parent or a child, until newer evidence comes."""
    if state.cuts.get(other, -1) >= until_ms:
        return LinkChange(state)
    state = replace(state, cuts={**state.cuts, other: until_ms})
    parent = state.parents.get(other)
    if parent is not None and parent.evidence and not state.counts(other, parent.evidence):
        disproved_parent = replace(parent, evidence=None)
        state = replace(state, parents={**state.parents, other: disproved_parent})
    child = state.children.get(other)
    if child is None or state.counts(other, child.sent):
        return LinkChange(state)
    return release(state, other)


def _set_parent(state: IdentityState, name: str, parent: Parent) -> IdentityState:
    former_parent = state.parents.get(name)
    is_new_claim = parent.evidence is not None and (
        former_parent is None or former_parent.evidence is None
    )
    parents = {
        parent_name: other_parent
        for parent_name, other_parent in state.parents.items()
        if not (is_new_claim and parent_name == name)
    }
    return replace(state, parents={**parents, name: parent})


def _is_full(state: IdentityState, namespace: str, rules: IdentityRules) -> bool:
    """Return whether the row can take no more children; one that left still counts, since this row
    has its past."""
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
