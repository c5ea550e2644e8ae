"""The identity stage: one row per identifier, changed by what is keyed by that identifier.

An interaction is processed in the row of its strongest identifier and goes on at once under that
row's root. Everything between rows travels as a record on `identities`, so that each row has one
writer: a parent tells a child of evidence (`link`) and of a new top (`root`), a child that follows
another says so (`released`), and so does one that follows (`returned`). Evidence, tops and cuts
only move forward, hence every order of delivery ends in the same trees: those of the evidence that
is newer than its link's last cut.

Which profile an identifier belongs to is said by its own row alone: with each interaction that it
is the strongest of, and by a `leave` and a `join` when its top changes, numbered by its tops. What
an interaction shows belongs to its profile until the shown identifier's row has had its say.

A link is taken away by an `unlink` to one of its ends, which tells the other (`unlinked`). A person
is forgotten by a `forget` to any identifier: it goes up to the top, and from there down to all
that follow; each row empties itself and tells those that know it (`forgotten`), and gives what it
did for somebody else to its owner (`adopt`).
"""

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from pipeline.config.compile import Configuration
from pipeline.config.dates import day
from pipeline.identity.causes import RecordFactory, profile_of, visiting
from pipeline.identity.forgetting import orphans, without
from pipeline.identity.linking import disconnect, hear, observe, rejoin, release
from pipeline.identity.mapping import mapped
from pipeline.identity.naming import doubtful, ranked, unclear
from pipeline.identity.ownership import current_shard, displaced, left_behind
from pipeline.identity.state import IdentityState, Placement
from pipeline.model import topics
from pipeline.model.control import Control
from pipeline.model.identity import Evidence, IdentityChange
from pipeline.model.ids import event_key
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.outcome import DeadLetter, Drop, Emit, Forward, Ok, Outcome, Redirect
from pipeline.model.shards import Erasure
from pipeline.model.stages import Identified
from pipeline.model.time import MAX_AHEAD_MS
from pipeline.rules import Rules


def step(
    key: str, record: Interaction | IdentityChange, state: IdentityState | None, rules: Rules
) -> Outcome[IdentityState]:
    """Identify; `key` is `namespace:value`, `state` its row, or None at first sight."""
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
    heard = unclear(interaction) or _in_time(interaction, rules.config)
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
    cause = RecordFactory(key, event, interaction.received_at, rules.config.digest)
    row, shard = current_shard(key, state or IdentityState(root=key), event)
    row, own, links = _links(cause, visiting(row, row.root), named, rules)
    normal = mapped(replace(named, identifiers=own), rules.config)
    identified = cause.identified(normal, row, shard)
    announced = (cause.resolved(row, None),) if state is None else ()
    asked = tuple(cause.alias(one.key, _evidence(named)) for one in pair[1:])
    return Ok(row, (identified, *announced, *links, *asked))


def _in_time(given: Interaction, config: Configuration) -> Interaction | DeadLetter:
    """Set a time ahead of its receipt back to it, or refuse one that cannot be true.

    Later stages rely on `occurred_at <= received_at`.
    """
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
    cause: RecordFactory, row: IdentityState, interaction: Interaction, rules: Rules
) -> tuple[IdentityState, tuple[Identifier, ...], tuple[Emit, ...]]:
    """Return the row, the identifiers that are its person's, and what to tell the weaker ones.

    Only an alias links within one namespace.
    """
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
    cause: RecordFactory, row: IdentityState, child: Identifier, evidence: Evidence, rules: Rules
) -> tuple[IdentityState, str, tuple[Emit, ...]]:
    """Return the row after evidence of a weaker identifier, the result, and whom to tell."""
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
    cause = RecordFactory(key, change.change_id, change.at, rules.config.digest)
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
    if state is None and change.kind == "released":
        return Ok(None, (cause.conceded(change.other),))
    if state is None:
        return Drop("forgotten already")
    return _heard(cause, state, change, change.other)


def _heard(
    cause: RecordFactory, row: IdentityState, change: IdentityChange, other: str
) -> Outcome[IdentityState]:
    """Apply a message of another row, unless this one is forgotten."""
    match change.kind:
        case "adopt":
            return _adopted(cause, row, change)
        case "forgotten":
            return _other_forgotten(cause, row, other)
        case "declined":
            return _declined(cause, row, other)
        case "conceded":
            return Ok(*_answered(cause, row, other))
        case "returned":
            return _returned(row, other)
        case _:
            return _released(cause, row, other)


def _alias(
    cause: RecordFactory, state: IdentityState | None, change: IdentityChange, rules: Rules
) -> Outcome[IdentityState]:
    """Decide which kind of id an alias's previous id is: anonymous if this row says so.

    Otherwise it is a customer's. Then the stronger of the two is told of the weaker.
    """
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
    row = state or visiting(IdentityState(root=cause.key), cause.key)
    announced: tuple[Emit, ...] = ()
    if state is None:
        announced = (cause.resolved(row, None), cause.belongs("join", row.root, row.version, 0))
    row, _, news = _show(cause, row, Identifier.parse(other), evidence, rules)
    return Ok(row, (*announced, *news))


def _told(
    cause: RecordFactory, row: IdentityState, change: IdentityChange, rules: Rules
) -> Outcome[IdentityState]:
    """Apply a parent's message: evidence, or its new top."""
    parent, root = change.other, change.root
    if parent is None or root is None:
        return DeadLetter("incomplete-change", f"root: a {change.kind} must name one")
    if change.kind == "link" and change.evidence is None:
        return DeadLetter("incomplete-change", "evidence: a link must carry it")
    most = rules.config.identity.max_identifiers
    if change.evidence is not None and parent not in row.parents and len(row.parents) >= most:
        told = cause.declined(parent)
        return Ok(row, (told, cause.refused(cause.key, parent, change.evidence)))
    heard = hear(row, change, parent, root)
    loser = parent if change.kind == "link" else None
    return Ok(*_settled(cause, row, heard, _Told(loser, change.evidence)))


def _released(cause: RecordFactory, row: IdentityState, child: str) -> Outcome[IdentityState]:
    """Let a child go that follows another now; interactions named it as this row's so far."""
    if child not in row.children:
        return Ok(row, (cause.conceded(child),))
    until_ms = row.children[child].told.occurred_at
    row, news = release(row, child)
    answer = cause.conceded(child) if news is None else cause.link(child, row, news)
    return Ok(row, (answer, cause.denied(row, child, until_ms)))


def _declined(cause: RecordFactory, row: IdentityState, child: str) -> Outcome[IdentityState]:
    """Undo the showing of a child that has too many parents, which could not be forgotten."""
    if child not in row.children:
        return Drop("unknown child")
    rest = {name: one for name, one in row.children.items() if name != child}
    told = _erasing(cause, row, child, Erasure(shown_only=True))
    until_ms = row.children[child].seen.occurred_at
    return Ok(replace(row, children=rest), (*told, cause.denied(row, child, until_ms)))


def _erasing(
    cause: RecordFactory, row: IdentityState, other: str, erasure: Erasure
) -> tuple[Emit, ...]:
    """Return what to tell every profile whose part may have seen `other` with this identifier."""
    places = (*row.shards.values(), *row.adopted.values())
    profiles = dict.fromkeys(profile_of(place.root) for place in places)
    return tuple(cause.erase(profile, other, erasure) for profile in profiles)


def _returned(row: IdentityState, child: str) -> Outcome[IdentityState]:
    if child not in row.children:
        return Drop("unknown child")
    return Ok(rejoin(row, child))


def _unlinked(
    cause: RecordFactory, row: IdentityState, other: str, first: bool
) -> Ok[IdentityState]:
    """Cut a link; the end that was asked tells the other."""
    after, news = disconnect(row, other, cause.at)
    told = (cause.unlinked(other),) if first else ()
    if news is not None:
        told = (*told, cause.link(other, after, news))
    if other in after.children:
        told = (*told, cause.denied(after, other, cause.at))
    after, emits = _settled(cause, row, after, _Told())
    return Ok(after, (*told, *emits))


class _Told(Struct, frozen=True):
    """Teller of a link, and the evidence for it; None: there is none."""

    teller: str | None = None
    evidence: Evidence | None = None


def _settled(
    cause: RecordFactory, before: IdentityState, row: IdentityState, told: _Told
) -> tuple[IdentityState, tuple[Emit, ...]]:
    """Choose the parent anew, and tell everybody whom that concerns."""
    best = next(row.claims(), None)
    parent = None if best is None else best.parent
    root = cause.key if parent is None else row.parents[parent].root
    row = replace(row, parent=parent, root=root, version=before.version + (root != before.root))
    losers = {told.teller, before.parent} - {parent, None}
    emits = [cause.released(loser) for loser in sorted(filter(None, losers))]
    if root != before.root:
        emits.append(cause.resolved(row, told.evidence))
        if profile_of(before.root) in row.visited:
            emits.append(
                cause.belongs("leave", before.root, row.version, _heard_until(before, row))
            )
    if told.teller is not None and told.teller == parent == row.told[0]:
        emits.append(cause.returned(parent))
    if parent != before.parent and before.parent is not None:
        row = replace(row, awaited=tuple(dict.fromkeys((*row.awaited, before.parent))))
    row, announced = _answered(cause, row, told.teller)
    row, moves = _moves(cause, row)
    return row, (*emits, *announced, *moves)


def _answered(
    cause: RecordFactory, row: IdentityState, parent: str | None
) -> tuple[IdentityState, tuple[Emit, ...]]:
    """Tell, once no parent that this identifier left may claim it back, whom it follows: its
    parent, its children, and the profile of its top."""
    row = replace(row, awaited=tuple(one for one in row.awaited if one != parent))
    if row.awaited or row.told == (row.parent, row.version):
        return row, ()
    emits = []
    before, version = row.told
    if row.parent is not None and row.parent != before:
        emits.append(cause.returned(row.parent))
    if row.version != version:
        emits.extend(cause.root(child, row) for child in row.children)
        emits.append(cause.belongs("join", row.root, row.version, _heard_until(row)))
        row = visiting(row, row.root)
    return replace(row, told=(row.parent, row.version)), tuple(emits)


def _heard_until(*rows: IdentityState) -> int:
    return max((at for row in rows for at in (*row.cuts.values(), *_occurred(row))), default=0)


def _occurred(row: IdentityState) -> tuple[int, ...]:
    return tuple(one.evidence.occurred_at for one in row.parents.values() if one.evidence)


def _moves(cause: RecordFactory, row: IdentityState) -> tuple[IdentityState, tuple[Emit, ...]]:
    """Return the moves that bring every shard where it must be."""
    moves, adopted = displaced(cause.key, row), left_behind(row)
    places = {**row.shards, **row.adopted}
    emits = tuple(
        cause.move(name, places[name].root, to) for name, to in {**moves, **adopted}.items()
    )
    row = replace(row, shards={**row.shards, **moves}, adopted={**row.adopted, **adopted})
    for place in moves.values():
        row = visiting(row, place.root)
    return row, emits


def _forget(cause: RecordFactory, row: IdentityState | None) -> Ok[IdentityState]:
    """Forget the person from its top down."""
    if row is not None and row.root != cause.key:
        return Ok(row, (cause.forget(row.root),))
    return _erased(cause, row or IdentityState(root=cause.key), None)


def _other_forgotten(cause: RecordFactory, row: IdentityState, other: str) -> Ok[IdentityState]:
    """Forget this identifier too if it followed the forgotten one, else that it ever saw it."""
    if row.parent == other:
        return _erased(cause, row, other)
    after = without(row, other)
    gone = tuple(name for name in row.shards if name not in after.shards)
    told = [*_erasing(cause, after, other, Erasure())]
    if gone:
        told += (cause.erase(profile, None, Erasure(gone)) for profile in row.visited)
    empty = replace(after, visited=()) == IdentityState(root=cause.key)
    after, announced = _answered(cause, after, other)
    return Ok(None if empty else after, (*told, *announced))


def _erased(cause: RecordFactory, row: IdentityState, teller: str | None) -> Ok[IdentityState]:
    known = dict.fromkeys((*row.children, *row.parents, *row.cuts))
    told = [cause.forgotten(other) for other in known if other != teller]
    given = orphans(row)
    told += (cause.adopt(owner, name, row.shards[name]) for name, owner in given.items())
    gone = tuple(name for name in (*row.shards, *row.adopted) if name not in given)
    told += (cause.erase(profile, cause.key, Erasure(gone)) for profile in row.visited)
    return Ok(None, (cause.forget_profile(), cause.erased(), *told))


def _adopted(
    cause: RecordFactory, row: IdentityState, change: IdentityChange
) -> Ok[IdentityState] | DeadLetter:
    """Take over what a forgotten identifier did for this one."""
    if change.shard is None or change.root is None:
        return DeadLetter("incomplete-change", "shard, root: an adopt must name both")
    place = Placement((), change.root, change.version)
    return Ok(*_moves(cause, replace(row, adopted={**row.adopted, change.shard: place})))


def _pass_on(key: str, change: IdentityChange, rules: Rules) -> Forward:
    """Pass on a control that is for every stage."""
    control = Control(
        control_id=change.change_id,
        kind="clock" if change.kind == "clock" else "probe",
        at=change.at,
        cause=change.change_id,
        config=rules.config.digest,
        request=change.request,
    )
    return Forward((Emit(topics.IDENTIFIED, key, Identified(control=control)),))
