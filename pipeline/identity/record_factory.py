"""Records that follow from one input of one row, each with an id derived from the input's."""

from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from pipeline.identity.linking import unconfirmed_children
from pipeline.identity.state import IdentityState, Placement
from pipeline.model import topics
from pipeline.model.control import Control
from pipeline.model.identity import Evidence, IdentityChange
from pipeline.model.ids import control_id, profile_id
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.outcome import Emit
from pipeline.model.shards import Erasure
from pipeline.model.stages import Identified, IdentitySection


def profile_of(root: str) -> str:
    """Return the profile id of the person whose top identifier has this key."""
    return profile_id(Identifier.parse(root))


_MAX_PROFILES: Final = 1000
"""Maximum of a row's stored profiles that may have its identifier: the latest ones."""


def add_visited(row: IdentityState, root: str) -> IdentityState:
    """Return the row with the profile under `root` among those that may have its identifier."""
    profile = profile_of(root)
    if profile in row.visited:
        return row
    return replace(row, visited=(*row.visited, profile)[-_MAX_PROFILES:])


class RecordFactory:
    """Factory of records; its methods are named after the kinds of record.

    `key`: of the originating row; `cause`: id of the input; `at` (ms): the row's time; `config`:
    digest of the configuration in force.
    """

    def __init__(self, key: str, cause: str, at: int, config: str) -> None:
        self.key = key
        self.at = at
        self._cause = cause
        self._config = config

    def identified(self, interaction: Interaction, row: IdentityState, shard: str) -> Emit:
        """Return the interaction with its profile, for the next stage."""
        profile = profile_of(row.root)
        section = IdentitySection(
            profile_id=profile,
            root=row.root,
            shard=shard,
            version=row.shards[shard].version,
            config=self._config,
            own_version=row.version,
            shown=unconfirmed_children(row),
        )
        return Emit(
            topics.IDENTIFIED, profile, Identified(interaction=interaction, identity=section)
        )

    def link(self, child: str, row: IdentityState, evidence: Evidence) -> Emit:
        """Inform the child of evidence, and of the root that it would have."""
        return self._change("link", child, self.key, row, evidence)

    def alias(self, previous: str, evidence: Evidence) -> Emit:
        """Ask the row of an alias's previous id for the kind of that id."""
        return self._change("alias", previous, self.key, evidence=evidence)

    def aliased(self, stronger: str, weaker: str, evidence: Evidence) -> Emit:
        """Inform the stronger identifier of an alias of the weaker one."""
        return self._change("aliased", stronger, weaker, evidence=evidence)

    def refused(self, child: str, parent: str, evidence: Evidence) -> Emit:
        """Record for readers that a link was shown and not made."""
        return self._change("refused", child, parent, evidence=evidence)

    def released(self, parent: str) -> Emit:
        """Inform the parent that this identifier follows another one."""
        return self._change("released", parent, self.key)

    def returned(self, parent: str) -> Emit:
        """Inform the parent that this identifier follows it."""
        return self._change("returned", parent, self.key)

    def conceded(self, child: str) -> Emit:
        """Inform the child that it has received all evidence."""
        return self._change("conceded", child, self.key)

    def root(self, child: str, row: IdentityState) -> Emit:
        """Inform the child of this row's new top."""
        return self._change("root", child, self.key, row)

    def resolved(self, row: IdentityState, evidence: Evidence | None) -> Emit:
        """Record for readers the profile that has this identifier now."""
        return self._change("resolved", self.key, row.parent, row, evidence)

    def unlinked(self, other: str) -> Emit:
        """Inform the other end of a link that the link was removed."""
        return self._change("unlinked", other, self.key)

    def forget(self, top: str) -> Emit:
        """Ask the top of the person to forget."""
        return self._change("forget", top, self.key)

    def forgotten(self, other: str) -> Emit:
        """Inform a row that has this identifier that it was forgotten."""
        return self._change("forgotten", other, self.key)

    def adopt(self, owner: str, shard: str, place: Placement) -> Emit:
        """Make the owner of this identifier's interactions adopt them."""
        change = IdentityChange(
            change_id=self._id("adopt", f"{owner}/{shard}"),
            kind="adopt",
            identifier=owner,
            at=self.at,
            config=self._config,
            other=owner,
            root=place.root,
            version=place.version,
            shard=shard,
        )
        return Emit(topics.IDENTITIES, owner, change)

    def erased(self) -> Emit:
        """Record for readers that no earlier record of this identifier counts."""
        return self._change("erased", self.key, None)

    def move(self, shard: str, source: str, target: Placement) -> Emit:
        """Make the profile under `source` send a shard on."""
        control = Control(
            control_id=self._id("move", f"{shard}/{target.version}"),
            kind="move",
            at=self.at,
            cause=self._cause,
            config=self._config,
            shard=shard,
            to_profile=profile_of(target.root),
            to_root=target.root,
            version=target.version,
        )
        return Emit(topics.IDENTIFIED, profile_of(source), Identified(control=control))

    def belongs(
        self, kind: Literal["join", "leave"], root: str, version: int, until_ms: int
    ) -> Emit:
        """Inform the profile under `root` that this identifier belongs to it, or no longer does.

        `version`: number of the identifier's top; `until_ms`: the report considers evidence up to
        then.
        """
        profile = profile_of(root)
        control = Control(
            control_id=self._id(kind, f"{self.key}/{profile}/{version}"),
            kind=kind,
            at=self.at,
            cause=self._cause,
            config=self._config,
            to_root=root if kind == "join" else None,
            version=version,
            identifier=self.key,
            until=until_ms,
        )
        return Emit(topics.IDENTIFIED, profile, Identified(control=control))

    def declined(self, parent: str) -> Emit:
        """Inform the parent that this identifier has too many parents already."""
        return self._change("declined", parent, self.key)

    def erase(self, profile: str, identifier: str | None, erasure: Erasure) -> Emit:
        """Make a profile forget an identifier, and the shards of `erasure`."""
        control = Control(
            control_id=self._id("erase", f"{profile}/{identifier}"),
            kind="erase",
            at=self.at,
            cause=self._cause,
            config=self._config,
            identifier=identifier,
            state=msgspec.msgpack.encode(erasure),
        )
        return Emit(topics.IDENTIFIED, profile, Identified(control=control))

    def denied(self, row: IdentityState, child: str, until_ms: int) -> Emit:
        """Inform the row's profile that its interactions' evidence of a child is void."""
        profile = profile_of(row.root)
        control = Control(
            control_id=self._id("denied", f"{profile}/{child}"),
            kind="leave",
            at=self.at,
            cause=self._cause,
            config=self._config,
            version=-1,
            identifier=child,
            until=until_ms,
        )
        return Emit(topics.IDENTIFIED, profile, Identified(control=control))

    def forget_profile(self) -> Emit:
        """Make the stages delete the profile whose top this identifier is."""
        control = Control(
            control_id=self._id("forget", self.key),
            kind="forget",
            at=self.at,
            cause=self._cause,
            config=self._config,
        )
        return Emit(topics.IDENTIFIED, profile_of(self.key), Identified(control=control))

    def _id(self, kind: str, subject: str) -> str:
        return control_id(self._cause, kind, subject)

    def _change(
        self,
        kind: Literal[
            "link",
            "alias",
            "aliased",
            "refused",
            "declined",
            "conceded",
            "released",
            "returned",
            "root",
            "resolved",
            "unlinked",
            "forget",
            "forgotten",
            "erased",
        ],
        identifier: str,
        other: str | None,
        row: IdentityState | None = None,
        evidence: Evidence | None = None,
    ) -> Emit:
        root = None if row is None else row.root
        change = IdentityChange(
            change_id=self._id(kind, f"{identifier}/{other}"),
            kind=kind,
            identifier=identifier,
            at=self.at,
            config=self._config,
            other=other,
            root=root,
            version=0 if row is None else row.version,
            profile_id=None if kind != "resolved" or root is None else profile_of(root),
            evidence=evidence,
        )
        return Emit(topics.IDENTITIES, identifier, change)
