"""Row of the identity stage: one identifier."""

from collections.abc import Iterator

from msgspec import Struct, field

from pipeline.model.identity import Evidence


class Parent(Struct, frozen=True, array_like=True):
    """Stronger identifier; `root`: the top that it last reported, its `version`-th.

    `evidence` None: no evidence counts, either because its top arrived before the link that shows
    it as a parent, or because the link was removed.
    """

    evidence: Evidence | None
    root: str
    version: int


class Child(Struct, frozen=True, array_like=True):
    """Weaker identifier seen together with this one.

    `seen` is the latest evidence, `sent` the latest that was sent to it. While the child follows
    this row (`is_following`), newer evidence changes nothing for it and stays here; when the child
    reports that it follows another, it is sent the evidence that it has not received.
    `is_confirmed`: the child reported that it follows, so its profile has it.
    """

    seen: Evidence
    sent: Evidence
    is_following: bool
    is_confirmed: bool = False


class Claim(Struct, frozen=True, array_like=True):
    """Parent, and the time (ms) of the evidence for its claim: a cut from then on voids the
    claim."""

    parent: str
    since: int


class Placement(Struct, frozen=True, array_like=True):
    """Place of a shard: under `root`, by its `version`-th move.

    `claims`: the owner of the identifier when the shard's interactions came, and the owners that
    would follow without the owner's link.
    """

    claims: tuple[Claim, ...]
    root: str
    version: int


class IdentityState(Struct, frozen=True):
    """One identifier's row: its evidence, its children, its top, and its shards in log order.

    `version` counts the tops that it has had. `parents` are in the order in which their evidence
    first counted. `cuts`: the other end of a link -> time (ms) of its removal; evidence of up to
    then, inclusive, does not count. `adopted`: shards of forgotten identifiers that followed this
    one, claimed by its parents at the time of the request. `visited`: ids of the profiles that may
    have this identifier, to be informed when it is forgotten. `awaited`: former parents that may
    yet have newer evidence; until they answer, the row reports no parent. `told`: the parent and
    the version that it last reported.
    """

    root: str
    version: int = 0
    parent: str | None = None
    parents: dict[str, Parent] = field(default_factory=dict)
    children: dict[str, Child] = field(default_factory=dict)
    shards: dict[str, Placement] = field(default_factory=dict)
    cuts: dict[str, int] = field(default_factory=dict)
    adopted: dict[str, Placement] = field(default_factory=dict)
    visited: tuple[str, ...] = ()
    awaited: tuple[str, ...] = ()
    told: tuple[str | None, int] = (None, 0)

    @property
    def places(self) -> dict[str, Placement]:
        """Placements of its own shards and of the adopted ones, by name."""
        return {**self.shards, **self.adopted}

    def counts(self, other: str, evidence: Evidence) -> bool:
        """Return whether this evidence of a link with `other` is newer than the link's last cut."""
        cut = self.cuts.get(other)
        return cut is None or evidence.occurred_at > cut

    def claims(self) -> Iterator[Claim]:
        """Return the parents with evidence that counts, the latest by (occurred_at, event_id)
        first.
        """
        pairs = [
            (parent.evidence, name)
            for name, parent in self.parents.items()
            if parent.evidence is not None
        ]
        for evidence, name in sorted(pairs, reverse=True):
            yield Claim(name, evidence.occurred_at)
