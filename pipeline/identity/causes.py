"""The records that follow from one input of one row, each with an id derived from the input's."""

from typing import Literal

from pipeline.identity.state import IdentityState, Placement
from pipeline.model import topics
from pipeline.model.control import Control
from pipeline.model.identity import Evidence, IdentityChange
from pipeline.model.ids import control_id, profile_id
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.outcome import Emit
from pipeline.model.stages import Identified, IdentitySection


def profile_of(root: str) -> str:
    """The profile id of the person whose top identifier has this key."""
    return profile_id(Identifier.parse(root))


class Cause:
    """`key`: whose row it is; `at` (ms): the clock of the input; `config`: digest in force."""

    def __init__(self, key: str, cause: str, at: int, config: str) -> None:
        self.key = key
        self.at = at
        self._cause = cause
        self._config = config

    def identified(self, interaction: Interaction, row: IdentityState, shard: str) -> Emit:
        """The interaction goes on, with who it is."""
        profile = profile_of(row.root)
        version = row.shards[shard].version
        section = IdentitySection(profile, row.root, shard, version, self._config)
        return Emit(
            topics.IDENTIFIED, profile, Identified(interaction=interaction, identity=section)
        )

    def link(self, child: str, row: IdentityState, evidence: Evidence) -> Emit:
        """The child is told of evidence, and where it would stand."""
        return self._change("link", child, self.key, row, evidence)

    def alias(self, previous: str, evidence: Evidence) -> Emit:
        """The row of an alias's previous id is asked what kind of id that is."""
        return self._change("alias", previous, self.key, evidence=evidence)

    def aliased(self, stronger: str, weaker: str, evidence: Evidence) -> Emit:
        """The stronger identifier of an alias is told of the weaker one."""
        return self._change("aliased", stronger, weaker, evidence=evidence)

    def refused(self, child: str, parent: str, evidence: Evidence) -> Emit:
        """For readers: a link was shown, and is not made."""
        return self._change("refused", child, parent, evidence=evidence)

    def released(self, parent: str, evidence: Evidence | None) -> Emit:
        """The parent is told that this identifier follows another, and by which evidence."""
        return self._change("released", parent, self.key, evidence=evidence)

    def returned(self, parent: str) -> Emit:
        """The parent is told that this identifier follows it again."""
        return self._change("returned", parent, self.key)

    def root(self, child: str, row: IdentityState) -> Emit:
        """The child is told of this row's new top."""
        return self._change("root", child, self.key, row)

    def resolved(self, row: IdentityState, evidence: Evidence | None) -> Emit:
        """For readers: whose this identifier is now."""
        return self._change("resolved", self.key, row.parent, row, evidence)

    def unlinked(self, other: str) -> Emit:
        """The other end of a link is told that it was taken away."""
        return self._change("unlinked", other, self.key)

    def forget(self, top: str) -> Emit:
        """The top of the person is asked to forget."""
        return self._change("forget", top, self.key)

    def forgotten(self, other: str) -> Emit:
        """Who knows this identifier is told that it was forgotten."""
        return self._change("forgotten", other, self.key)

    def erased(self) -> Emit:
        """For readers: nothing of before counts for this identifier."""
        return self._change("erased", self.key, None)

    def move(self, shard: str, source: str, to: Placement) -> Emit:
        """The profile under `source` must send a shard on."""
        control = Control(
            control_id=self._id("move", f"{shard}/{to.version}"),
            kind="move",
            at=self.at,
            cause=self._cause,
            config=self._config,
            shard=shard,
            to_profile=profile_of(to.root),
            to_root=to.root,
            version=to.version,
        )
        return Emit(topics.IDENTIFIED, profile_of(source), Identified(control=control))

    def leave(
        self, shard: tuple[str, Placement], identifier: str | None, until_ms: int | None
    ) -> Emit:
        """A shard's profile is told that an identifier (None: any) that it saw up to then (None:
        whenever) is not its own any more; 0: that it is again."""
        name, place = shard
        control = Control(
            control_id=self._id("leave", f"{name}/{identifier}"),
            kind="leave",
            at=self.at,
            cause=self._cause,
            config=self._config,
            shard=name,
            to_root=place.root,
            version=place.version,
            identifier=identifier,
            until=until_ms,
        )
        return Emit(topics.IDENTIFIED, profile_of(place.root), Identified(control=control))

    def forget_profile(self) -> Emit:
        """The stages delete the profile that this identifier is the top of."""
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
