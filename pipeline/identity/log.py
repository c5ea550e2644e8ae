"""`identities` as a log: the last link of each identifier."""

from collections.abc import Iterable

from msgspec import Struct

from pipeline.model.identity import Evidence, IdentityChange


class Link(Struct, frozen=True):
    """Link of `identifier` under `parent`, shown by `evidence`; both None at the top."""

    identifier: str
    parent: str | None = None
    evidence: Evidence | None = None


def links(changes: Iterable[IdentityChange]) -> dict[str, Link]:
    """Return each identifier's link to its parent: the latest evidence newer than the last cut.

    `changes`: in the order of the log, at least within each identifier.
    """
    evidence_by_child: dict[str, dict[str, Evidence]] = {}
    cuts: dict[str, dict[str, int]] = {}
    for change in changes:
        evidence_by_parent = evidence_by_child.setdefault(change.identifier, {})
        other = change.other or ""
        if change.kind == "link" and change.evidence is not None:
            evidence_by_parent[other] = max(
                evidence_by_parent.get(other, change.evidence), change.evidence
            )
        elif change.kind in ("unlink", "unlinked"):
            cut_times = cuts.setdefault(change.identifier, {})
            cut_times[other] = max(cut_times.get(other, change.at), change.at)
        elif change.kind in ("refused", "forgotten"):
            evidence_by_parent.pop(other, None)
        elif change.kind == "erased":
            evidence_by_child[change.identifier], cuts[change.identifier] = {}, {}
    link_by_identifier = {}
    for identifier, parents in evidence_by_child.items():
        cut_times = cuts.get(identifier, {})
        valid_evidence = [
            (evidence, parent)
            for parent, evidence in parents.items()
            if evidence.occurred_at > cut_times.get(parent, -1)
        ]
        if valid_evidence:
            evidence, parent = max(valid_evidence)
            link_by_identifier[identifier] = Link(identifier, parent, evidence)
    return link_by_identifier
