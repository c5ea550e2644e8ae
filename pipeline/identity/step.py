"""Identity stage: one row per identifier, changed by records keyed by that identifier.

An interaction is processed in the row of its strongest identifier and is passed on at once under
that row's root. Rows communicate by records on `identities`, so that each row has one writer: a
parent sends a child evidence (`link`) and a new top (`root`); a child informs its former parent
(`released`) and its new one (`returned`). Evidence, tops and cuts only move forward, so every
order of delivery ends in the same trees: those of the evidence that is newer than its link's last
cut.

Only an identifier's own row determines its profile: with each interaction whose strongest
identifier it is, and by a `leave` and a `join` when its top changes, numbered by tops. An
identifier shown by an interaction counts as the profile's until its own row has reported.

A link is removed by an `unlink` to one of its ends, which informs the other (`unlinked`). A person
is forgotten by a `forget` to any identifier: it goes up to the top, and from there down to all
children; each row is deleted, informs the rows that have its identifier (`forgotten`), and gives
its shards of other persons to their owners (`adopt`).
"""

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from pipeline.config.compile import Configuration
from pipeline.config.dates import day
from pipeline.identity.forgetting import orphans, remove_other
from pipeline.identity.linking import (
    ShownLink,
    apply_parent_report,
    disconnect,
    observe,
    rejoin,
    release,
)
from pipeline.identity.mapping import apply_mappings
from pipeline.identity.naming import ambiguous_alias, rank_identifiers, refuse_unclear_interaction
from pipeline.identity.ownership import adopt_shard, correct_placements, current_shard
from pipeline.identity.record_factory import RecordFactory, add_visited, profile_of
from pipeline.identity.state import IdentityState
from pipeline.model import topics
from pipeline.model.control import Control
from pipeline.model.identity import Evidence, IdentityChange
from pipeline.model.ids import event_key
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.outcome import (
    DeadLetter,
    Drop,
    Emit,
    Forward,
    Ok,
    Outcome,
    Redirect,
    RowTransition,
)
from pipeline.model.shards import Erasure
from pipeline.model.stages import Identified
from pipeline.model.time import MAX_AHEAD_MS
from pipeline.rules import Rules


def step(
    key: str, record: Interaction | IdentityChange, state: IdentityState | None, rules: Rules
) -> Outcome[IdentityState]:
    """Identify the customer of `record`; `key`: `namespace:value`, `state`: its row, None for a new
    identifier."""
    if isinstance(record, Interaction):
        return _identify(key, record, state, rules)
    if record.kind in ("probe", "clock"):
        return _forward_control(key, record, rules)
    if record.kind in ("resolved", "refused", "erased"):
        return Drop("announcement")
    return _apply_change(key, record, state, rules)


def _identify(
    key: str, interaction: Interaction, state: IdentityState | None, rules: Rules
) -> Outcome[IdentityState]:
    result = refuse_unclear_interaction(interaction) or _check_time_of_event(
        interaction, rules.config
    )
    if isinstance(result, DeadLetter):
        return result
    names = rank_identifiers(result, rules.config)
    if isinstance(names, DeadLetter):
        return names
    pair = ambiguous_alias(names, rules.config) if interaction.kind == "alias" else ()
    certain_names = tuple(name for name in names if name not in pair)
    if certain_names[0].key != key:
        return Redirect(
            Emit(topics.INTERACTIONS, certain_names[0].key, replace(result, identifiers=names))
        )
    interaction = replace(result, identifiers=certain_names)
    event = event_key(key, interaction)
    records = RecordFactory(key, event, interaction.received_at, rules.config.digest)
    row, shard = current_shard(key, state or IdentityState(root=key), event)
    links = _link_identifiers(records, add_visited(row, row.root), interaction, rules)
    interaction = apply_mappings(replace(interaction, identifiers=links.identifiers), rules.config)
    identified = records.identified(interaction, links.row, shard)
    announcements = (records.resolved(links.row, None),) if state is None else ()
    questions = tuple(records.alias(previous.key, _evidence(interaction)) for previous in pair[1:])
    return Ok(links.row, (identified, *announcements, *links.emits, *questions))


def _check_time_of_event(
    interaction: Interaction, config: Configuration
) -> Interaction | DeadLetter:
    """Set a time after its receipt back to the receipt, or refuse an impossible one.

    Later stages rely on `occurred_at <= received_at`.
    """
    if interaction.occurred_at > interaction.received_at + MAX_AHEAD_MS:
        return DeadLetter("time-in-future", "occurred_at: more than 1 h after received_at")
    earliest = config.earliest_time(interaction.source)
    if interaction.occurred_at < earliest:
        limit = f"before {day(earliest)}, the earliest of {interaction.source}"
        message = f"occurred_at: {limit}; milliseconds?"
        return DeadLetter("time-too-early", message)
    if interaction.occurred_at > interaction.received_at:
        return replace(interaction, occurred_at=interaction.received_at)
    return interaction


class _LinkedIdentifiers(Struct, frozen=True):
    """Identifiers of an interaction that belong to its customer; the next row, and the records to
    write with it."""

    row: IdentityState
    identifiers: tuple[Identifier, ...]
    emits: tuple[Emit, ...]


def _link_identifiers(
    records: RecordFactory, row: IdentityState, interaction: Interaction, rules: Rules
) -> _LinkedIdentifiers:
    """Link the weaker identifiers of an interaction to the strongest.

    Only an alias links within one namespace.
    """
    strongest, *weaker = interaction.identifiers
    evidence = _evidence(interaction)
    own_identifiers = [strongest]
    emits: list[Emit] = []
    for child in weaker:
        if child.namespace == strongest.namespace and evidence.rule != "alias":
            continue
        link = observe(row, child, evidence, rules.config.identity)
        if link.fate == "linked":
            own_identifiers.append(child)
        emits += _link_notices(records, link, child, evidence)
        row = link.state
    return _LinkedIdentifiers(row, tuple(own_identifiers), tuple(emits))


def _evidence(interaction: Interaction) -> Evidence:
    rule: Literal["together", "alias"] = "alias" if interaction.kind == "alias" else "together"
    return Evidence(interaction.occurred_at, interaction.event_id, rule)


def _link_notices(
    records: RecordFactory, link: ShownLink, child: Identifier, evidence: Evidence
) -> tuple[Emit, ...]:
    """Return the records that follow from the `link` to `child`, shown by `evidence`."""
    if link.fate == "refused":
        return (records.refused(child.key, records.key, evidence),)
    if link.unsent_evidence is None:
        return ()
    return (records.link(child.key, link.state, link.unsent_evidence),)


def _apply_change(
    key: str, change: IdentityChange, state: IdentityState | None, rules: Rules
) -> Outcome[IdentityState]:
    records = RecordFactory(key, change.change_id, change.at, rules.config.digest)
    if change.kind == "forget":
        return _forget(records, state)
    if change.other is None:
        return DeadLetter(
            "incomplete-change", f"other: a {change.kind} must name the other identifier"
        )
    if change.kind in ("unlink", "unlinked"):
        row = state or IdentityState(root=key)
        return _unlink(records, row, change.other, is_request=change.kind == "unlink")
    if change.kind in ("alias", "aliased"):
        return _apply_alias(records, state, change, rules)
    if change.kind in ("link", "root"):
        return _apply_parent_message(records, state or IdentityState(root=key), change, rules)
    if state is None and change.kind == "released":
        return Ok(None, (records.conceded(change.other),))
    if state is None:
        return Drop("forgotten already")
    return _apply_message(records, state, change, change.other)


def _apply_message(
    records: RecordFactory, row: IdentityState, change: IdentityChange, other: str
) -> Outcome[IdentityState]:
    """Apply a message of another row to this one."""
    match change.kind:
        case "adopt":
            return _adopt(records, row, change)
        case "forgotten":
            return _forget_other(records, row, other)
        case "declined":
            return _remove_declined_child(records, row, other)
        case "conceded":
            return _announce_parent(records, row, other).outcome()
        case "returned":
            return _rejoin_child(row, other)
        case _:
            return _release_child(records, row, other)


def _apply_alias(
    records: RecordFactory, state: IdentityState | None, change: IdentityChange, rules: Rules
) -> Outcome[IdentityState]:
    """Apply an `alias`, the question for the kind of this row's id, or an `aliased`, its answer.

    The id of an `alias` is anonymous if this row exists, and a customer's otherwise; the answer
    informs the stronger of both ids of the weaker. An `aliased` links the weaker id.
    """
    other, evidence = change.other, change.evidence
    if other is None or evidence is None:
        return DeadLetter("incomplete-change", f"evidence: a {change.kind} must carry it")
    if change.kind == "alias":
        previous = Identifier.parse(records.key)
        if state is None:
            previous = replace(previous, namespace=rules.config.bundle.identity.user_id)
        pair = rules.config.identity.rank((previous, Identifier.parse(other)))
        notice = records.aliased(pair[0].key, pair[-1].key, evidence)
        return Forward((notice,)) if state is None else Ok(state, (notice,))
    row = state or add_visited(IdentityState(root=records.key), records.key)
    announcements: tuple[Emit, ...] = ()
    if state is None:
        announcements = (
            records.resolved(row, None),
            records.belongs("join", row.root, row.version, 0),
        )
    child = Identifier.parse(other)
    link = observe(row, child, evidence, rules.config.identity)
    notices = _link_notices(records, link, child, evidence)
    return Ok(link.state, (*announcements, *notices))


def _apply_parent_message(
    records: RecordFactory, row: IdentityState, change: IdentityChange, rules: Rules
) -> Outcome[IdentityState]:
    """Apply a parent's message: evidence, or a new top."""
    parent, root = change.other, change.root
    if parent is None or root is None:
        return DeadLetter("incomplete-change", f"root: a {change.kind} must name the top")
    if change.kind == "link" and change.evidence is None:
        return DeadLetter("incomplete-change", "evidence: a link must carry it")
    max_parents = rules.config.identity.max_identifiers
    if (
        change.evidence is not None
        and parent not in row.parents
        and len(row.parents) >= max_parents
    ):
        notice = records.declined(parent)
        return Ok(row, (notice, records.refused(records.key, parent, change.evidence)))
    new_row = apply_parent_report(row, change, parent, root)
    linking_parent = parent if change.kind == "link" else None
    report = _LinkReport(linking_parent, change.evidence)
    return _choose_parent(records, row, new_row, report).outcome()


def _release_child(
    records: RecordFactory, row: IdentityState, child: str
) -> Outcome[IdentityState]:
    """Release a child that now has another parent; interactions named it as this row's so far."""
    if child not in row.children:
        return Ok(row, (records.conceded(child),))
    until_ms = row.children[child].sent.occurred_at
    change = release(row, child)
    row, evidence = change.state, change.unsent_evidence
    answer = records.conceded(child) if evidence is None else records.link(child, row, evidence)
    return Ok(row, (answer, records.denied(row, child, until_ms)))


def _remove_declined_child(
    records: RecordFactory, row: IdentityState, child: str
) -> Outcome[IdentityState]:
    """Remove a child that has too many parents: its forgetting would not inform this row."""
    if child not in row.children:
        return Drop("unknown child")
    children = {name: other_child for name, other_child in row.children.items() if name != child}
    notices = _erasures(records, row, child, Erasure(shown_only=True))
    until_ms = row.children[child].seen.occurred_at
    return Ok(replace(row, children=children), (*notices, records.denied(row, child, until_ms)))


def _erasures(
    records: RecordFactory, row: IdentityState, other: str, erasure: Erasure
) -> tuple[Emit, ...]:
    """Return the `erase` of `other` for every profile with a shard of this identifier."""
    profiles = dict.fromkeys(profile_of(place.root) for place in row.places.values())
    return tuple(records.erase(profile, other, erasure) for profile in profiles)


def _rejoin_child(row: IdentityState, child: str) -> Outcome[IdentityState]:
    if child not in row.children:
        return Drop("unknown child")
    return Ok(rejoin(row, child))


def _unlink(
    records: RecordFactory, row: IdentityState, other: str, is_request: bool
) -> Ok[IdentityState]:
    """Cut a link; if this end got the request (`is_request`), inform the other."""
    change = disconnect(row, other, records.at)
    new_row, evidence = change.state, change.unsent_evidence
    notices = (records.unlinked(other),) if is_request else ()
    if evidence is not None:
        notices = (*notices, records.link(other, new_row, evidence))
    if other in new_row.children:
        notices = (*notices, records.denied(new_row, other, records.at))
    choice = _choose_parent(records, row, new_row, _LinkReport())
    return Ok(choice.row, (*notices, *choice.emits))


class _LinkReport(Struct, frozen=True):
    """Parent that reported a link, and the reported evidence; None: there is none."""

    parent: str | None = None
    evidence: Evidence | None = None


def _choose_parent(
    records: RecordFactory, old_row: IdentityState, row: IdentityState, report: _LinkReport
) -> RowTransition[IdentityState]:
    """Choose the parent again, and inform the affected rows and profiles."""
    claim = next(row.claims(), None)
    parent = None if claim is None else claim.parent
    root = records.key if parent is None else row.parents[parent].root
    row = replace(row, parent=parent, root=root, version=old_row.version + (root != old_row.root))
    losers = {report.parent, old_row.parent} - {parent, None}
    emits = [records.released(loser) for loser in sorted(filter(None, losers))]
    if root != old_row.root:
        emits.append(records.resolved(row, report.evidence))
        if profile_of(old_row.root) in row.visited:
            emits.append(
                records.belongs("leave", old_row.root, row.version, _evidence_until(old_row, row))
            )
    if report.parent is not None and report.parent == parent == row.told[0]:
        emits.append(records.returned(parent))
    if parent != old_row.parent and old_row.parent is not None:
        row = replace(row, awaited=tuple(dict.fromkeys((*row.awaited, old_row.parent))))
    announcement = _announce_parent(records, row, report.parent)
    move = _move_shards(records, announcement.row)
    return RowTransition(move.row, (*emits, *announcement.emits, *move.emits))


def _announce_parent(
    records: RecordFactory, row: IdentityState, parent: str | None
) -> RowTransition[IdentityState]:
    """Inform the parent, the children and the top's profile of this identifier's parent.

    This waits until every former parent has answered (`parent` just did), since one may claim it
    back.
    """
    row = replace(row, awaited=tuple(name for name in row.awaited if name != parent))
    if row.awaited or row.told == (row.parent, row.version):
        return RowTransition(row)
    emits = []
    told_parent, told_version = row.told
    if row.parent is not None and row.parent != told_parent:
        emits.append(records.returned(row.parent))
    if row.version != told_version:
        emits.extend(records.root(child, row) for child in row.children)
        emits.append(records.belongs("join", row.root, row.version, _evidence_until(row)))
        row = add_visited(row, row.root)
    return RowTransition(replace(row, told=(row.parent, row.version)), tuple(emits))


def _evidence_until(*rows: IdentityState) -> int:
    """Return the time (ms) of the latest cut or evidence in the rows; 0 without any."""
    return max(
        (at for row in rows for at in (*row.cuts.values(), *_evidence_times(row))), default=0
    )


def _evidence_times(row: IdentityState) -> tuple[int, ...]:
    return tuple(parent.evidence.occurred_at for parent in row.parents.values() if parent.evidence)


def _move_shards(records: RecordFactory, row: IdentityState) -> RowTransition[IdentityState]:
    """Move the shards whose owner has changed."""
    shards = correct_placements(records.key, row, row.shards)
    adoptions = correct_placements(records.key, row, row.adopted)
    places, corrections = row.places, {**shards, **adoptions}
    emits = tuple(
        records.move(name, places[name].root, place) for name, place in corrections.items()
    )
    row = replace(row, shards={**row.shards, **shards}, adopted={**row.adopted, **adoptions})
    for place in corrections.values():
        row = add_visited(row, place.root)
    return RowTransition(row, emits)


def _forget(records: RecordFactory, row: IdentityState | None) -> Ok[IdentityState]:
    """Forget the person from its top down; a row below the top passes the request up."""
    if row is not None and row.root != records.key:
        return Ok(row, (records.forget(row.root),))
    return _erase(records, row or IdentityState(root=records.key), None)


def _forget_other(records: RecordFactory, row: IdentityState, other: str) -> Ok[IdentityState]:
    """Forget this identifier if its parent is the forgotten `other`; else only `other`."""
    if row.parent == other:
        return _erase(records, row, other)
    new_row = remove_other(row, other)
    places = new_row.places
    removed_shards = tuple(name for name in row.places if name not in places)
    notices = [*_erasures(records, new_row, other, Erasure())]
    if removed_shards:
        erasure = Erasure(removed_shards)
        notices += (records.erase(profile, None, erasure) for profile in row.visited)
    is_empty = replace(new_row, visited=()) == IdentityState(root=records.key)
    announcement = _announce_parent(records, new_row, other)
    return Ok(None if is_empty else announcement.row, (*notices, *announcement.emits))


def _erase(records: RecordFactory, row: IdentityState, informer: str | None) -> Ok[IdentityState]:
    neighbours = dict.fromkeys((*row.children, *row.parents, *row.cuts))
    notices = [records.forgotten(other) for other in neighbours if other != informer]
    places, orphan_owners = row.places, orphans(row)
    notices += (records.adopt(owner, name, places[name]) for name, owner in orphan_owners.items())
    removed_shards = tuple(name for name in places if name not in orphan_owners)
    erasure = Erasure(removed_shards, anonymous=tuple(orphan_owners))
    notices += (records.erase(profile, records.key, erasure) for profile in row.visited)
    return Ok(None, (records.forget_profile(), records.erased(), *notices))


def _adopt(
    records: RecordFactory, row: IdentityState, change: IdentityChange
) -> Ok[IdentityState] | DeadLetter:
    """Adopt a shard that a forgotten identifier had of this one's person."""
    if change.shard is None or change.root is None:
        return DeadLetter("incomplete-change", "shard, root: an adopt must name both")
    new_row = adopt_shard(row, change.shard, change.root, change.version)
    return _move_shards(records, add_visited(new_row, change.root)).outcome()


def _forward_control(key: str, change: IdentityChange, rules: Rules) -> Forward:
    """Pass on a control for all stages."""
    control = Control(
        control_id=change.change_id,
        kind="clock" if change.kind == "clock" else "probe",
        at=change.at,
        cause=change.change_id,
        config=rules.config.digest,
        request=change.request,
    )
    return Forward((Emit(topics.IDENTIFIED, key, Identified(control=control)),))
