"""Enrichment stage: one row per profile; passes every change on, and publishes it as a snapshot."""

from collections.abc import Collection
from functools import partial

import msgspec
from msgspec.structs import replace

from pipeline.enrichment import named_identifiers, view
from pipeline.enrichment.backfill import NewAggregates, ShardHistory, begin, fill
from pipeline.enrichment.enrichers import derive
from pipeline.enrichment.shard import apply, merge
from pipeline.enrichment.state import ProfileState, Shard
from pipeline.enrichment.time_triggers import ProfileMoment, catch_up, outcome_with_wake, profile_at
from pipeline.model import topics
from pipeline.model.belongings import apply_report, remove_identifier
from pipeline.model.control import Control
from pipeline.model.ids import control_id
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
from pipeline.model.shards import Away, Erasure, arrival, destination
from pipeline.model.stages import Enriched, Identified, IdentitySection, ProfileSection
from pipeline.rules import Rules

_shard_encoder = msgspec.msgpack.Encoder()
_shard_decoder = msgspec.msgpack.Decoder(Shard)
_new_aggregates_decoder = msgspec.msgpack.Decoder(NewAggregates)
_history_decoder = msgspec.msgpack.Decoder(ShardHistory)
_erasure_decoder = msgspec.msgpack.Decoder(Erasure)


def step(
    key: str, record: Identified, state: ProfileState | None, rules: Rules
) -> Outcome[ProfileState]:
    """Enrich `record`; `key`: the profile id, `state`: that profile's row, None for a new
    profile."""
    control = record.control
    if control is not None:
        return _process_control(key, control, state, rules)
    if record.interaction is None or record.identity is None:
        return DeadLetter("empty-record", "neither an interaction with identity nor a control")
    return _enrich(key, record, state, rules)


def _enrich(
    key: str, record: Identified, state: ProfileState | None, rules: Rules
) -> Outcome[ProfileState]:
    interaction, identity = record.interaction, record.identity
    assert interaction is not None
    assert identity is not None
    row = state or ProfileState(root=identity.root)
    if row.root and not identity.root:
        identity = replace(identity, root=row.root)
    elif identity.root and not row.root:
        row = replace(row, root=identity.root)
    redirect = row.shards.redirect_of(identity.shard, identity.version)
    if redirect is not None:
        return _follow(record, identity, redirect)
    now_ms = interaction.received_at
    if row.shown or identity.shown:
        names = named_identifiers.awaited_identifiers(row.shown, row.belongings, identity)
        row = replace(row, shown=names)
    transition = catch_up(key, row, now_ms, rules)
    row = transition.row
    derived_values = derive(interaction, rules.enrichers)
    shard = apply(row.shards.here.get(identity.shard), interaction, rules.config, derived_values)
    row = replace(row, shards=row.shards.put(identity.shard, shard))
    row = replace(
        row, belongings=named_identifiers.add_own_identifier(row.belongings, interaction, identity)
    )
    moment = profile_at(row, now_ms, rules)
    shown_at = {
        **row.shown,
        **named_identifiers.shown_identifiers(row.belongings, interaction, identity),
    }
    section = _section(profile_at(row, now_ms, rules, shown_at) if shown_at else moment, rules)
    if shown_at and section is not None:
        section = replace(section, shown=shown_at)
    if identity.shown:
        identity = replace(identity, shown={})
    if section is not None and derived_values:
        section = view.with_derived_values(section, derived_values, rules.config)
    enriched = Enriched(interaction=interaction, identity=identity, profile=section)
    snapshot = _snapshot(key, row, moment, rules)
    return outcome_with_wake(
        row, (*transition.emits, Emit(topics.ENRICHED, key, enriched), snapshot), moment, rules
    )


def _follow(record: Identified, identity: IdentitySection, target: Away) -> Redirect:
    """Redirect an interaction whose shard moved on, without the ownership of its identifiers."""
    new_identity = replace(
        identity,
        profile_id=target.to_profile,
        root="",
        version=target.version,
        own_version=None,
        shown={},
    )
    return Redirect(
        Emit(topics.IDENTIFIED, target.to_profile, replace(record, identity=new_identity))
    )


def _process_control(
    key: str, control: Control, state: ProfileState | None, rules: Rules
) -> Outcome[ProfileState]:
    if control.kind in ("probe", "clock"):
        return Forward((Emit(topics.ENRICHED, key, Enriched(control=control)),))
    if control.kind == "forget":
        output = Emit(topics.ENRICHED, key, Enriched(control=control))
        return Ok(None, (output, Emit(topics.PROFILES, key, None)))
    if control.kind == "erase":
        return _erase(key, control, state, rules)
    if state is None and control.kind in ("refresh", "timer", "begin", "fill"):
        return Drop("unknown profile")
    root = "" if control.kind == "move" else control.to_root or ""
    time_transition = catch_up(key, state or ProfileState(root), control.at, rules)
    if control.kind == "timer":
        row, emits = time_transition.row, time_transition.emits
        moment = profile_at(row, row.at, rules)
        if emits:
            emits = (*emits, _snapshot(key, row, moment, rules))
        return outcome_with_wake(row, emits, moment, rules)
    transition = _apply_control(key, control, time_transition.row, rules)
    if not isinstance(transition, RowTransition):
        return transition
    row, emits = transition.row, (*time_transition.emits, *transition.emits)
    return outcome_with_wake(row, emits, profile_at(row, control.at, rules), rules)


def _apply_control(
    key: str, control: Control, row: ProfileState, rules: Rules
) -> RowTransition[ProfileState] | Redirect | Drop | DeadLetter:
    match control.kind:
        case "move":
            return _move(key, control, row, rules)
        case "arrive":
            return _arrive(key, control, row, rules)
        case "join" | "leave":
            return _record_belonging(key, control, row, rules)
        case "begin":
            return _begin(control, row)
        case "fill":
            return _fill(control, row)
        case _:
            return RowTransition(row, _refresh(key, control, row, rules))


def _move(key: str, move: Control, row: ProfileState, rules: Rules) -> RowTransition[ProfileState]:
    """Send the shard away; pass the move, and the rest of the profile, on to later stages."""
    departure = row.shards.depart(move)
    row = replace(row, shards=departure.shards)
    output = Emit(topics.ENRICHED, key, Enriched(control=move))
    if departure.part is None:
        return RowTransition(row, (output,))
    if not row.shards.here:
        row = replace(row, shown={})
    shard_emit = _send_shard(move, destination(move), departure.part)
    return RowTransition(row, (output, shard_emit, *_refresh(key, move, row, rules)))


def _arrive(
    key: str, control: Control, row: ProfileState, rules: Rules
) -> RowTransition[ProfileState] | DeadLetter:
    if control.state is None:
        return DeadLetter("empty-record", "state: an arrival must carry the shard")
    part = _shard_decoder.decode(control.state)
    shards = row.shards.receive(control, part, partial(merge, config=rules.config))
    if isinstance(shards, Away):
        return RowTransition(row, (_send_shard(control, shards, part),))
    row = replace(row, root=row.root or control.to_root or "", shards=shards)
    return RowTransition(row, _refresh(key, control, row, rules))


def _record_belonging(
    key: str, change: Control, row: ProfileState, rules: Rules
) -> RowTransition[ProfileState]:
    """Record whether an identifier belongs to the customer, and inform later stages."""
    belongings = apply_report(row.belongings, change)
    row = replace(
        row,
        root=row.root or change.to_root or "",
        belongings=belongings,
        shown=named_identifiers.drop_confirmed_identifiers(row.shown, belongings, change),
    )
    output = Emit(topics.ENRICHED, key, Enriched(control=change))
    if not row.shards.here:
        return RowTransition(row, (output,))
    return RowTransition(row, (output, *_refresh(key, change, row, rules)))


def _erase(
    key: str, control: Control, state: ProfileState | None, rules: Rules
) -> Outcome[ProfileState]:
    """Forget an identifier, and the shards that the erasure names."""
    if control.state is None:
        return DeadLetter("empty-record", "state: an erase must name the shards to forget")
    erasure = _erasure_decoder.decode(control.state)
    output = Emit(topics.ENRICHED, key, Enriched(control=control))
    if state is None:
        return Forward((output,))
    transition = catch_up(key, state, control.at, rules)
    row = transition.row
    shards = row.shards.without(erasure.shards)
    parts = {
        name: _strip(
            shard, shard.identifiers if name in erasure.anonymous else {control.identifier}
        )
        for name, shard in shards.here.items()
    }
    shown_at = {name: at for name, at in state.shown.items() if name != control.identifier}
    row = replace(row, shards=replace(shards, here=parts), shown=shown_at)
    if not erasure.shown_only:
        row = replace(row, belongings=remove_identifier(row.belongings, control.identifier))
    if not (parts or row.shards.away or row.belongings):
        return Ok(None, (*transition.emits, output, *_refresh(key, control, row, rules)))
    refresh_emits = _refresh(key, control, row, rules) if state.shards.here else ()
    return outcome_with_wake(
        row, (*transition.emits, output, *refresh_emits), profile_at(row, control.at, rules), rules
    )


def _strip(shard: Shard, names: Collection[str | None]) -> Shard:
    """Return the shard without the identifiers `names`, shown by its interactions."""
    if shard.identifiers.keys().isdisjoint(names):
        return shard
    identifiers = {name: at for name, at in shard.identifiers.items() if name not in names}
    return replace(shard, identifiers=identifiers)


def _begin(control: Control, row: ProfileState) -> RowTransition[ProfileState] | DeadLetter:
    """Begin new aggregates; later stages receive a refresh once all are filled."""
    if control.state is None:
        return DeadLetter("empty-record", "state: a begin must name the new aggregates")
    new_aggregates = _new_aggregates_decoder.decode(control.state)
    parts = {name: begin(shard, new_aggregates) for name, shard in row.shards.here.items()}
    return RowTransition(replace(row, shards=replace(row.shards, here=parts)))


def _fill(
    control: Control, row: ProfileState
) -> RowTransition[ProfileState] | Redirect | Drop | DeadLetter:
    """Back-fill a shard's aggregates; redirect the fill of a moved shard, and drop that of a
    forgotten one."""
    name = control.shard
    if control.state is None or name is None:
        return DeadLetter("empty-record", "state, shard: a fill must have both")
    redirect = row.shards.redirect_of(name, control.version)
    if redirect is not None:
        redirected_fill = Identified(control=replace(control, version=redirect.version))
        return Redirect(Emit(topics.IDENTIFIED, redirect.to_profile, redirected_fill))
    shard = row.shards.here.get(name)
    if shard is None:
        return Drop("unknown shard")
    shard = fill(shard, _history_decoder.decode(control.state))
    return RowTransition(replace(row, shards=row.shards.put(name, shard)))


def _send_shard(cause: Control, target: Away, shard: Shard) -> Emit:
    subject = f"enrichment/{cause.shard}/{target.version}"
    control = arrival(
        cause, target, _shard_encoder.encode(shard), control_id(cause.control_id, "arrive", subject)
    )
    return Emit(topics.IDENTIFIED, target.to_profile, Identified(control=control))


def _refresh(key: str, cause: Control, row: ProfileState, rules: Rules) -> tuple[Emit, Emit]:
    moment = profile_at(row, cause.at, rules)
    latest_shard_name = view.latest_shard_name(row)
    refresh = Control(
        control_id=control_id(cause.control_id, "refresh", key),
        kind="refresh",
        at=moment.at,
        cause=cause.control_id,
        config=cause.config,
        shard=latest_shard_name,
        to_root=row.root if latest_shard_name is not None else None,
        version=cause.version if latest_shard_name == cause.shard else 0,
    )
    enriched = Enriched(control=refresh, profile=_section(moment, rules))
    return Emit(topics.ENRICHED, key, enriched), _snapshot(key, row, moment, rules)


def _section(moment: ProfileMoment, rules: Rules) -> ProfileSection | None:
    return view.section(moment.traits, rules.config) if moment.shards else None


def _snapshot(key: str, row: ProfileState, moment: ProfileMoment, rules: Rules) -> Emit:
    """Return the snapshot of the profile to publish; for an empty profile a tombstone."""
    if not moment.shards:
        return Emit(topics.PROFILES, key, None)
    snapshot = view.snapshot(key, row, moment.traits, moment.at, rules.config)
    return Emit(topics.PROFILES, key, snapshot)
