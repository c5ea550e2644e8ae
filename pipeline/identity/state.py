"""What identity keeps for one identifier."""

from msgspec import Struct, field

from pipeline.model.identity import Evidence


class Parent(Struct, frozen=True, array_like=True):
    """A stronger identifier; `root` as it last told, which was its `version`-th.

    `evidence` None: its top came before the link that shows why it is a parent.
    """

    evidence: Evidence | None
    root: str
    version: int


class Child(Struct, frozen=True, array_like=True):
    """A weaker identifier seen together with this one.

    `seen` is the latest evidence, `told` the latest that was sent to it. While the child follows,
    newer evidence changes nothing for it and stays here; when it follows somebody else it says
    so, and is told anew as soon as there is evidence that it has not heard.
    """

    seen: Evidence
    told: Evidence
    follows: bool


class Placement(Struct, frozen=True, array_like=True):
    """Where a shard is: under `root`, by its `version`-th move. `owner` is the parent under which
    it was begun, or the first one after that for what was done without an owner."""

    owner: str | None
    root: str
    version: int


class IdentityState(Struct, frozen=True):
    """One identifier's row: its evidence, its children, its top, and its shards in log order.

    `version` counts the tops that it has had.
    """

    root: str
    version: int = 0
    parent: str | None = None
    parents: dict[str, Parent] = field(default_factory=dict)
    children: dict[str, Child] = field(default_factory=dict)
    shards: dict[str, Placement] = field(default_factory=dict)


def top_of(parents: dict[str, Parent]) -> str | None:
    """The parent: the one with the latest evidence by (occurred_at, event_id), then by name."""
    shown = [(one.evidence, name) for name, one in parents.items() if one.evidence is not None]
    return max(shown)[1] if shown else None
