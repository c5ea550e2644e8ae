"""Row of the identity stage: one identifier."""

from collections.abc import Iterator

from msgspec import Struct, field

from pipeline.model.identity import Evidence


class Parent(Struct, frozen=True, array_like=True):
    """Stronger identifier; `root`: the top that it last reported, its `version`-th.

    `evidence` None: none counts, be it that its top came before the link that shows why it is a
    parent, or that the link was taken away.
    """

    evidence: Evidence | None
    root: str
    version: int


class Child(Struct, frozen=True, array_like=True):
    """Weaker identifier seen together with this one.

    `seen` is the latest evidence, `sent` the latest that was sent to it. While the child follows,
    newer evidence changes nothing for it and stays here; when it follows another it reports
    so, and is sent evidence again once there is some that it has not received. `confirmed`: it
    reported that it follows, hence its profile knows it.
    """

    seen: Evidence
    sent: Evidence
    follows: bool
    confirmed: bool = False


class Claim(Struct, frozen=True, array_like=True):
    """Parent, and when (ms) the evidence occurred by which it claims: a cut from then on voids
    the claim."""

    parent: str
    since: int


class Placement(Struct, frozen=True, array_like=True):
    """Place of a shard: under `root`, by its `version`-th move.

    `claims`: the owner of the identifier when the shard's interactions came, and who would have
    owned it without the owner's link.
    """

    claims: tuple[Claim, ...]
    root: str
    version: int


class IdentityState(Struct, frozen=True):
    """One identifier's row: its evidence, its children, its top, and its shards in log order.

    `version` counts the tops that it has had. `parents` are in the order in which their evidence
    first counted. `cuts`: the other end of a link -> when (ms) it was taken away; evidence of up
    to then, inclusive, does not count. `adopted`: shards of forgotten identifiers that belong to
    this one. `visited`: ids of the profiles that may know this identifier, to be notified when it
    is forgotten. `awaited`: parents that it left and that may yet have newer evidence; until they
    answer it reports to none which it follows. `told`: the parent and the version that it last
    reported.
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

    def counts(self, other: str, evidence: Evidence) -> bool:
        """Return whether this evidence of a link with `other` is newer than the link's last cut."""
        cut = self.cuts.get(other)
        return cut is None or evidence.occurred_at > cut

    def claims(self) -> Iterator[Claim]:
        """Return the parents with evidence that counts, the latest by (occurred_at, event_id)
        first.
        """
        shown = [
            (one.evidence, name) for name, one in self.parents.items() if one.evidence is not None
        ]
        for evidence, name in sorted(shown, reverse=True):
            yield Claim(name, evidence.occurred_at)
