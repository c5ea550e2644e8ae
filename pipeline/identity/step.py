"""The identity stage: one row per identifier, changed by what is keyed by that identifier.

An interaction is processed in the row of its strongest identifier and goes on at once under that
row's root. Everything between rows travels as a record on `identities`, so that each row has one
writer: a parent tells a child of evidence (`link`) and of a new top (`root`), a child that follows
another says so (`released`). Evidence and tops only move forward, hence every order of delivery
ends in the same trees.
"""

from typing import Literal

from msgspec.structs import replace

from pipeline.identity.linking import observe, release
from pipeline.identity.naming import ranked
from pipeline.identity.ownership import adopt, current_shard, displaced
from pipeline.identity.state import IdentityState, Parent, top_of
from pipeline.model import topics
from pipeline.model.control import Control
from pipeline.model.identity import Evidence, IdentityChange
from pipeline.model.ids import control_id, profile_id
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.outcome import DeadLetter, Drop, Emit, Forward, Ok, Outcome, Redirect
from pipeline.model.stages import Identified, IdentitySection
from pipeline.model.time import MAX_AHEAD_MS
from pipeline.rules import Rules


def step(
    key: str, record: Interaction | IdentityChange, state: IdentityState | None, rules: Rules
) -> Outcome[IdentityState]:
    """`key` is `namespace:value`; the state is that identifier's row, or None at first sight."""
    if isinstance(record, Interaction):
        return _interaction(key, record, state, rules)
    if record.kind in ("probe", "clock"):
        return _pass_on(key, record, rules)
    if record.kind == "resolved":
        return Drop("announcement")
    return _change(key, record, state or IdentityState(root=key), rules)


def _interaction(
    key: str, interaction: Interaction, state: IdentityState | None, rules: Rules
) -> Outcome[IdentityState]:
    if interaction.occurred_at > interaction.received_at + MAX_AHEAD_MS:
        return DeadLetter("time-in-future", "occurred_at: more than 1 h after received_at")
    names = ranked(interaction, rules.config)
    if isinstance(names, DeadLetter):
        return names
    named = replace(interaction, identifiers=names)
    if names[0].key != key:
        return Redirect(Emit(topics.INTERACTIONS, names[0].key, named))
    cause = _Cause(key, interaction.event_id, interaction.received_at, rules.config.digest)
    row = state or IdentityState(root=key)
    row, shard = current_shard(key, row)
    identified = cause.identified(named, row, shard)
    row, links = _links(cause, row, named)
    announced = (cause.resolved(row, None),) if state is None else ()
    return Ok(row, (identified, *announced, *links))


def _links(
    cause: "_Cause", row: IdentityState, interaction: Interaction
) -> tuple[IdentityState, tuple[Emit, ...]]:
    """What the weaker identifiers must be told; only an alias links within one namespace."""
    strongest, *weaker = interaction.identifiers
    alias = interaction.kind == "alias"
    evidence = Evidence(
        interaction.occurred_at, interaction.event_id, "alias" if alias else "together"
    )
    emits: list[Emit] = []
    for child in weaker:
        if child.namespace == strongest.namespace and not alias:
            continue
        row, news = observe(row, child.key, evidence)
        if news is not None:
            emits.append(cause.link(child.key, row, news))
    return row, tuple(emits)


def _change(
    key: str, change: IdentityChange, row: IdentityState, rules: Rules
) -> Outcome[IdentityState]:
    other = change.other
    if other is None:
        return DeadLetter("incomplete-change", f"other: a {change.kind} must name one")
    cause = _Cause(key, change.change_id, change.at, rules.config.digest)
    if change.kind == "released":
        row, news = release(row, other)
        return Ok(row, () if news is None else (cause.link(other, row, news),))
    if change.root is None:
        return DeadLetter("incomplete-change", f"root: a {change.kind} must name one")
    if change.kind == "link" and change.evidence is None:
        return DeadLetter("incomplete-change", "evidence: a link must carry it")
    parent = _heard(row.parents.get(other), change.evidence, change.root, change.version)
    return _reparented(cause, replace(row, parents={**row.parents, other: parent}), change)


def _heard(known: Parent | None, evidence: Evidence | None, root: str, version: int) -> Parent:
    """The parent after a link or a new top: each part only ever becomes newer."""
    if known is None:
        return Parent(evidence, root, version)
    best = max(filter(None, (known.evidence, evidence)), default=None)
    if version < known.version:
        return replace(known, evidence=best)
    return Parent(best, root, version)


def _reparented(cause: "_Cause", row: IdentityState, change: IdentityChange) -> Ok[IdentityState]:
    """Choose the parent anew, and tell everybody whom that concerns."""
    before = row
    parent = top_of(row.parents)
    root = cause.key if parent is None else row.parents[parent].root
    version = before.version + (root != before.root)
    row = adopt(replace(row, parent=parent, root=root, version=version))
    emits: list[Emit] = []
    losers = {change.other if change.kind == "link" else None, before.parent} - {parent, None}
    emits.extend(cause.released(loser) for loser in sorted(filter(None, losers)))
    if root != before.root:
        emits.append(cause.resolved(row, change.evidence))
        emits.extend(cause.root(child, row) for child in row.children)
    moves = displaced(cause.key, row)
    emits.extend(
        cause.move(name, row.shards[name].root, place.root, place.version)
        for name, place in moves.items()
    )
    return Ok(replace(row, shards={**row.shards, **moves}), tuple(emits))


def _pass_on(key: str, change: IdentityChange, rules: Rules) -> Forward:
    """What is for every stage."""
    control = Control(
        control_id=change.change_id,
        kind="clock" if change.kind == "clock" else "probe",
        at=change.at,
        cause=change.change_id,
        config=rules.config.digest,
        request=change.request,
    )
    return Forward((Emit(topics.IDENTIFIED, key, Identified(control=control)),))


class _Cause:
    """Makes the records that follow from one input of one row, each id derived from the input's."""

    def __init__(self, key: str, cause: str, at: int, config: str) -> None:
        self.key = key
        self._cause = cause
        self._at = at
        self._config = config

    def identified(self, interaction: Interaction, row: IdentityState, shard: str) -> Emit:
        profile = profile_of(row.root)
        version = row.shards[shard].version
        section = IdentitySection(profile, row.root, shard, version, self._config)
        return Emit(
            topics.IDENTIFIED, profile, Identified(interaction=interaction, identity=section)
        )

    def link(self, child: str, row: IdentityState, evidence: Evidence) -> Emit:
        return self._change("link", child, self.key, row, evidence)

    def released(self, parent: str) -> Emit:
        return self._change("released", parent, self.key)

    def root(self, child: str, row: IdentityState) -> Emit:
        return self._change("root", child, self.key, row)

    def resolved(self, row: IdentityState, evidence: Evidence | None) -> Emit:
        return self._change("resolved", self.key, row.parent, row, evidence)

    def move(self, shard: str, source: str, target: str, version: int) -> Emit:
        control = Control(
            control_id=control_id(self._cause, "move", f"{shard}/{version}"),
            kind="move",
            at=self._at,
            cause=self._cause,
            config=self._config,
            shard=shard,
            to_profile=profile_of(target),
            to_root=target,
            version=version,
        )
        return Emit(topics.IDENTIFIED, profile_of(source), Identified(control=control))

    def _change(
        self,
        kind: Literal["link", "released", "root", "resolved"],
        identifier: str,
        other: str | None,
        row: IdentityState | None = None,
        evidence: Evidence | None = None,
    ) -> Emit:
        root = None if row is None else row.root
        change = IdentityChange(
            change_id=control_id(self._cause, kind, f"{identifier}/{other}"),
            kind=kind,
            identifier=identifier,
            at=self._at,
            config=self._config,
            other=other,
            root=root,
            version=0 if row is None else row.version,
            profile_id=None if kind != "resolved" or root is None else profile_of(root),
            evidence=evidence,
        )
        return Emit(topics.IDENTITIES, identifier, change)


def profile_of(root: str) -> str:
    """The profile id of the person whose top identifier has this key."""
    return profile_id(Identifier.parse(root))
