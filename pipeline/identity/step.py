"""The identity stage: one row per identifier, changed by what is keyed by that identifier.

An interaction is processed in the row of its strongest identifier and goes on at once under that
row's root. Everything between rows travels as a record on `identities`, so that each row has one
writer: a parent tells a child of evidence (`link`) and of a new top (`root`), a child that follows
another says so (`released`). Evidence, tops and cuts only move forward, hence every order of
delivery ends in the same trees: those of the evidence that is newer than its link's last cut.

A link is taken away by an `unlink` to one of its ends, which tells the other (`unlinked`). A person
is forgotten by a `forget` to any identifier: it goes up to the top, and from there down to all
that follow; each row empties itself and tells those that know it (`forgotten`).
"""

from collections.abc import Iterator
from typing import Literal

from msgspec.structs import replace

from pipeline.config.compile import Configuration
from pipeline.config.dates import day
from pipeline.identity.causes import Cause
from pipeline.identity.forgetting import without
from pipeline.identity.linking import disconnect, hear, observe, rejoin, release
from pipeline.identity.mapping import mapped
from pipeline.identity.naming import doubtful, ranked
from pipeline.identity.ownership import current_shard, displaced, owner_of
from pipeline.identity.state import IdentityState
from pipeline.model import topics
from pipeline.model.control import Control
from pipeline.model.identity import Evidence, IdentityChange
from pipeline.model.ids import event_key
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.outcome import DeadLetter, Drop, Emit, Forward, Ok, Outcome, Redirect
from pipeline.model.stages import Identified
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
    if record.kind in ("resolved", "refused", "erased"):
        return Drop("announcement")
    return _change(key, record, state, rules)


def _interaction(
    key: str, interaction: Interaction, state: IdentityState | None, rules: Rules
) -> Outcome[IdentityState]:
    heard = _in_time(interaction, rules.config)
    if isinstance(heard, DeadLetter):
        return heard
    names = ranked(heard, rules.config)
    if isinstance(names, DeadLetter):
        return names
    pair = doubtful(names, rules.config) if interaction.kind == "alias" else ()
    certain = tuple(one for one in names if one not in pair)
    if certain[0].key != key:
        return Redirect(
            Emit(topics.INTERACTIONS, certain[0].key, replace(heard, identifiers=names))
        )
    named = replace(heard, identifiers=certain)
    event = event_key(key, interaction)
    cause = Cause(key, event, interaction.received_at, rules.config.digest)
    row, shard = current_shard(key, state or IdentityState(root=key), interaction.received_at)
    row, own, links = _links(cause, row, named, rules)
    normal = mapped(replace(named, identifiers=own), rules.config)
    identified = cause.identified(normal, row, shard)
    announced = (cause.resolved(row, None),) if state is None else ()
    asked = tuple(cause.alias(one.key, _evidence(named)) for one in pair[1:])
    return Ok(row, (identified, *announced, *links, *asked))


def _in_time(given: Interaction, config: Configuration) -> Interaction | DeadLetter:
    """What is ahead of its receipt happened at its receipt, so that every later stage may rely on
    that; what cannot be true is refused."""
    if given.occurred_at > given.received_at + MAX_AHEAD_MS:
        return DeadLetter("time-in-future", "occurred_at: more than 1 h after received_at")
    earliest = config.earliest_of(given.source)
    if given.occurred_at < earliest:
        what = f"occurred_at: before {day(earliest)}, the earliest of {given.source}; milliseconds?"
        return DeadLetter("time-too-early", what)
    if given.occurred_at > given.received_at:
        return replace(given, occurred_at=given.received_at)
    return given


def _links(
    cause: Cause, row: IdentityState, interaction: Interaction, rules: Rules
) -> tuple[IdentityState, tuple[Identifier, ...], tuple[Emit, ...]]:
    """The row, the identifiers that are its person's, and what the weaker ones must be told; only
    an alias links within one namespace."""
    strongest, *weaker = interaction.identifiers
    evidence = _evidence(interaction)
    own = [strongest]
    emits: list[Emit] = []
    for child in weaker:
        if child.namespace == strongest.namespace and evidence.rule != "alias":
            continue
        row, fate, told = _show(cause, row, child, evidence, rules)
        if fate == "linked":
            own.append(child)
        emits += told
    return row, tuple(own), tuple(emits)


def _evidence(interaction: Interaction) -> Evidence:
    rule: Literal["together", "alias"] = "alias" if interaction.kind == "alias" else "together"
    return Evidence(interaction.occurred_at, interaction.event_id, rule)


def _show(
    cause: Cause, row: IdentityState, child: Identifier, evidence: Evidence, rules: Rules
) -> tuple[IdentityState, str, tuple[Emit, ...]]:
    """The row after evidence of a weaker identifier, what became of it, and who must be told."""
    observed = observe(row, child, evidence, rules.config.identity)
    if observed.fate == "refused":
        return observed.state, "refused", (cause.refused(child.key, cause.key, evidence),)
    if observed.news is None:
        return observed.state, observed.fate, ()
    told = cause.link(child.key, observed.state, observed.news)
    return observed.state, observed.fate, (told,)


def _change(
    key: str, change: IdentityChange, state: IdentityState | None, rules: Rules
) -> Outcome[IdentityState]:
    cause = Cause(key, change.change_id, change.at, rules.config.digest)
    if change.kind == "forget":
        return _forget(cause, state)
    if change.other is None:
        return DeadLetter("incomplete-change", f"other: a {change.kind} must name one")
    if change.kind in ("unlink", "unlinked"):
        row = state or IdentityState(root=key)
        return _unlinked(cause, row, change.other, first=change.kind == "unlink")
    if change.kind in ("alias", "aliased"):
        return _alias(cause, state, change, rules)
    if change.kind in ("link", "root"):
        return _told(cause, state or IdentityState(root=key), change, rules)
    if state is None:
        return Drop("forgotten already")
    if change.kind == "forgotten":
        return _other_forgotten(cause, state, change.other)
    if change.kind == "returned":
        return _returned(cause, state, change.other)
    return _released(cause, state, change.other, change.evidence)


def _alias(
    cause: Cause, state: IdentityState | None, change: IdentityChange, rules: Rules
) -> Outcome[IdentityState]:
    """The row of a previous id knows whether it is an anonymous one; if it is not, it is a
    customer's. Then the stronger of the two that the alias links is told of the weaker."""
    other, evidence = change.other, change.evidence
    if other is None or evidence is None:
        return DeadLetter("incomplete-change", f"evidence: a {change.kind} must carry it")
    if change.kind == "alias":
        previous = Identifier.parse(cause.key)
        if state is None:
            previous = replace(previous, namespace=rules.config.bundle.identity.user_id)
        both = rules.config.identity.ranked((previous, Identifier.parse(other)))
        told = cause.aliased(both[0].key, both[-1].key, evidence)
        return Forward((told,)) if state is None else Ok(state, (told,))
    row = state or IdentityState(root=cause.key)
    announced = (cause.resolved(row, None),) if state is None else ()
    row, _, news = _show(cause, row, Identifier.parse(other), evidence, rules)
    return Ok(row, (*announced, *news))


def _told(
    cause: Cause, row: IdentityState, change: IdentityChange, rules: Rules
) -> Outcome[IdentityState]:
    """A parent told of evidence, or of its new top."""
    parent, root = change.other, change.root
    if parent is None or root is None:
        return DeadLetter("incomplete-change", f"root: a {change.kind} must name one")
    if change.kind == "link" and change.evidence is None:
        return DeadLetter("incomplete-change", "evidence: a link must carry it")
    most = rules.config.identity.max_identifiers
    if change.evidence is not None and parent not in row.parents and len(row.parents) >= most:
        told = cause.released(parent, change.evidence)
        return Ok(row, (told, cause.refused(cause.key, parent, change.evidence)))
    heard = hear(row, change, parent, root)
    loser = parent if change.kind == "link" else None
    return Ok(*_settled(cause, row, heard, (loser, change.evidence)))


def _released(
    cause: Cause, row: IdentityState, child: str, winner: Evidence | None
) -> Outcome[IdentityState]:
    """A child follows another; it is not named among what it did here up to then."""
    if child not in row.children:
        return Drop("unknown child")
    row, news = release(row, child)
    told = () if news is None else (cause.link(child, row, news),)
    if winner is None:
        return Ok(row, told)
    until_ms = max(winner.occurred_at, row.cuts.get(child, 0))
    return Ok(row, (*told, *_leaving(cause, row, child, until_ms)))


def _returned(cause: Cause, row: IdentityState, child: str) -> Outcome[IdentityState]:
    """A child follows again: it is named once more among what it did here."""
    if child not in row.children:
        return Drop("unknown child")
    return Ok(rejoin(row, child), _leaving(cause, row, child, 0))


def _unlinked(cause: Cause, row: IdentityState, other: str, first: bool) -> Ok[IdentityState]:
    """Of the two ends, the one that was asked tells the other."""
    after, news = disconnect(row, other, cause.at)
    told = (cause.unlinked(other),) if first else ()
    if news is not None:
        told = (*told, cause.link(other, after, news))
    left = _leaving(cause, after, other, cause.at) if other in after.children else ()
    after, emits = _settled(cause, row, after, (None, None))
    return Ok(after, (*told, *left, *emits))


def _leaving(cause: Cause, row: IdentityState, child: str, until_ms: int) -> tuple[Emit, ...]:
    return tuple(cause.leave(one, child, until_ms) for one in row.shards.items())


def _settled(
    cause: Cause,
    before: IdentityState,
    row: IdentityState,
    told: tuple[str | None, Evidence | None],
) -> tuple[IdentityState, tuple[Emit, ...]]:
    """Choose the parent anew, and tell everybody whom that concerns. `told`: by whom, and what."""
    teller, evidence = told
    best = next(row.claims(), None)
    parent = None if best is None else best.parent
    root = cause.key if parent is None else row.parents[parent].root
    row = replace(row, parent=parent, root=root, version=before.version + (root != before.root))
    winner = None if parent is None else row.parents[parent].evidence
    losers = {teller, before.parent} - {parent, None}
    emits = [cause.released(loser, winner) for loser in sorted(filter(None, losers))]
    if parent is not None and parent not in (before.parent, teller):
        emits.append(cause.returned(parent))
    if root != before.root:
        emits.append(cause.resolved(row, evidence))
        emits.extend(cause.root(child, row) for child in row.children)
    moves = displaced(cause.key, row)
    emits.extend(cause.move(name, row.shards[name].root, to) for name, to in moves.items())
    row = replace(row, shards={**row.shards, **moves})
    emits.extend(_handed_over(cause, before, row))
    return row, tuple(emits)


def _handed_over(cause: Cause, before: IdentityState, row: IdentityState) -> Iterator[Emit]:
    """What was done under an owner of before names nobody there any more, or does so again."""
    for name, place in row.shards.items():
        was_past = owner_of(before.shards[name], before) != before.parent
        is_past = owner_of(place, row) != row.parent
        if is_past is not was_past:
            yield cause.leave((name, place), None, None if is_past else 0)


def _forget(cause: Cause, row: IdentityState | None) -> Ok[IdentityState]:
    """The person is forgotten from its top down."""
    if row is not None and row.root != cause.key:
        return Ok(row, (cause.forget(row.root),))
    return _erased(cause, row or IdentityState(root=cause.key), None)


def _other_forgotten(cause: Cause, row: IdentityState, other: str) -> Ok[IdentityState]:
    """Who followed it is forgotten with it; others forget that they ever saw it."""
    if row.parent == other:
        return _erased(cause, row, other)
    after = without(row, other)
    return Ok(None if after == IdentityState(root=cause.key) else after)


def _erased(cause: Cause, row: IdentityState, teller: str | None) -> Ok[IdentityState]:
    known = dict.fromkeys((*row.children, *row.parents))
    told = tuple(cause.forgotten(other) for other in known if other != teller)
    return Ok(None, (cause.forget_profile(), cause.erased(), *told))


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
