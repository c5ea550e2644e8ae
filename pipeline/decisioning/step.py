"""The decisioning stage: one row per profile; every interaction gets exactly one Decision.

A slot is a placement that asked, or an outbound channel that a trigger opened. Slots are filled
in order, each winner counting under the caps of those after it.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from pipeline.conditions import Facts
from pipeline.config.compile import Entry
from pipeline.config.compiled import Candidate
from pipeline.decisioning import history
from pipeline.decisioning.arbitrate import arbitrate
from pipeline.decisioning.caps import full
from pipeline.decisioning.eligibility import Moment, address, campaign_objection, objection
from pipeline.decisioning.render import render
from pipeline.decisioning.state import ContactState, History
from pipeline.decisioning.token import Claims
from pipeline.model import decision as record_of
from pipeline.model import topics
from pipeline.model.control import Control
from pipeline.model.decision import Action, Answer, Choice, Contact, Decision, Reply
from pipeline.model.ids import action_id, control_id, decision_id, event_key
from pipeline.model.interaction import Interaction
from pipeline.model.outcome import DeadLetter, Drop, Emit, Forward, Ok, Outcome
from pipeline.model.shards import Away, arrival, destination
from pipeline.model.stages import ProfileSection, Segmented
from pipeline.rules import Rules

_history_bytes = msgspec.msgpack.Encoder()
_history_from = msgspec.msgpack.Decoder(History)


def step(
    key: str, record: Segmented, state: ContactState | None, rules: Rules
) -> Outcome[ContactState]:
    """`key` is the profile id; the state is that profile's row, or None at first sight."""
    if record.control is not None:
        return _control(record.control, state or ContactState())
    if record.interaction is None or record.identity is None or record.segments is None:
        return DeadLetter("empty-record", "neither a segmented interaction nor a control")
    if record.interaction.kind == "outcome":
        return _outcome(record, record.interaction, state or ContactState())
    return _decide(record, record.interaction, state or ContactState(), rules)


def _decide(
    record: Segmented, interaction: Interaction, state: ContactState, rules: Rules
) -> Ok[ContactState]:
    assert record.identity is not None
    moment = _moment(record, interaction, rules)
    known = history.contacts(state)
    filled = _fill(interaction, moment, known, rules)
    decision = Decision(
        decision_id=filled.decision,
        event_id=interaction.event_id,
        profile_id=record.identity.profile_id,
        config=record.identity.config,
        decided_at=interaction.received_at,
        choices=tuple(filled.choices),
        candidates=tuple(filled.judged),
        rejected={rule: tuple(names) for rule, names in sorted(filled.rejected.items())},
        contacts=known,
    )
    row = history.add(
        state,
        record.identity.shard,
        tuple(filled.contacts),
        interaction.received_at,
        rules.config.longest_cap_ms,
    )
    profile = record.identity.profile_id
    sent = [Emit(topics.actions(one.channel), profile, one) for one in filled.actions]
    answered = _answer(interaction, filled)
    return Ok(row, (Emit(topics.DECISIONS, profile, decision), *sent, *answered))


@dataclass(slots=True)
class _Filled:
    """What the slots got so far."""

    decision: str
    choices: list[Choice]
    actions: list[Action]
    contacts: list[Contact]
    judged: list[record_of.Candidate]
    rejected: dict[str, list[str]]


def _fill(
    interaction: Interaction, moment: Moment, known: tuple[Contact, ...], rules: Rules
) -> _Filled:
    filled = _Filled(_decision_id(interaction), [], [], [], [], defaultdict(list))
    config = rules.config
    asked = interaction.request.placements if interaction.request is not None else ()
    for placement in dict.fromkeys(asked):
        entries = config.by_placement.get(placement, ())
        channel = entries[0].candidates[0].channel if entries else interaction.channel
        eligible = _eligible(entries, moment, filled, asked=True)
        _fill_slot(placement, channel, eligible, (moment, known, filled), rules)
    for channel, entries in config.outbound.items():
        eligible = _eligible(entries, moment, filled, asked=False)
        if eligible:
            _fill_slot(channel, channel, eligible, (moment, known, filled), rules)
    return filled


def _eligible(
    entries: Sequence[Entry], moment: Moment, filled: _Filled, asked: bool
) -> list[Candidate]:
    eligible: list[Candidate] = []
    for entry in entries:
        rule = campaign_objection(entry.campaign, moment, asked)
        if rule is not None:
            filled.rejected[rule].extend(entry.treatments)
            continue
        for one in entry.candidates:
            rule = objection(one, moment)
            if rule is None:
                eligible.append(one)
            else:
                filled.rejected[rule].append(one.treatment)
    return eligible


def _fill_slot(
    slot: str,
    channel: str,
    eligible: Sequence[Candidate],
    so_far: tuple[Moment, tuple[Contact, ...], _Filled],
    rules: Rules,
) -> None:
    moment, known, filled = so_far
    contacts = (*known, *filled.contacts)
    winner, judged = arbitrate(slot, eligible, full(rules.config.caps, contacts, moment.now_ms))
    filled.judged.extend(judged)
    if winner is None:
        filled.choices.append(Choice(slot, channel))
        return
    action = _action(slot, winner, (moment, filled.decision), rules)
    filled.actions.append(action)
    filled.contacts.append(
        Contact(
            action_id=action.action_id,
            campaign=winner.campaign,
            offer=winner.offer,
            treatment=winner.treatment,
            channel=winner.channel,
            purpose=winner.purpose,
            at=moment.now_ms,
        )
    )
    filled.choices.append(
        Choice(
            slot=slot,
            channel=winner.channel,
            action_id=action.action_id,
            campaign=winner.campaign,
            offer=winner.offer,
            treatment=winner.treatment,
            score=winner.score,
        )
    )


def _action(slot: str, winner: Candidate, decided: tuple[Moment, str], rules: Rules) -> Action:
    moment, decision = decided
    interaction = moment.facts.interaction
    assert interaction is not None
    identifier = interaction.identifiers[0]
    action = action_id(decision, slot)
    claims = Claims(
        action_id=action,
        decision_id=decision,
        identifier=identifier,
        channel=winner.channel,
        campaign=winner.campaign,
        offer=winner.offer,
        treatment=winner.treatment,
        at=moment.now_ms,
    )
    return Action(
        action_id=action,
        decision_id=decision,
        event_id=interaction.event_id,
        profile_id=moment.identity.profile_id,
        identifier=identifier,
        purpose=winner.purpose,
        campaign=winner.campaign,
        offer=winner.offer,
        treatment=winner.treatment,
        channel=winner.channel,
        placement=winner.placement,
        address=address(winner, moment),
        content=render(winner, moment.facts),
        created_at=moment.now_ms,
        deadline_at=moment.now_ms + winner.deadline_ms,
        token=rules.token_key.sign(claims),
    )


def _answer(interaction: Interaction, filled: _Filled) -> tuple[Emit, ...]:
    request = interaction.request
    if request is None:
        return ()
    by_placement = {one.placement: one for one in filled.actions if one.placement is not None}
    answers = tuple(Answer(name, by_placement.get(name)) for name in request.placements)
    reply = Reply(request.request_id, filled.decision, interaction.event_id, answers)
    return (Emit(topics.REPLIES, request.gateway, reply),)


def _moment(record: Segmented, interaction: Interaction, rules: Rules) -> Moment:
    assert record.identity is not None
    assert record.segments is not None
    profile = record.profile or ProfileSection({})
    facts = Facts(
        interaction=interaction,
        traits=profile.traits,
        derived=profile.derived,
        segments=frozenset(record.segments.members),
        entered=frozenset(record.segments.entered),
        now_ms=interaction.received_at,
    )
    age = interaction.received_at - interaction.occurred_at
    return Moment(facts, record.identity, stale=age > rules.max_action_age_ms)


def _outcome(record: Segmented, interaction: Interaction, state: ContactState) -> Ok[ContactState]:
    """What became of an action; nothing is said because of it, and its Decision says so."""
    assert record.identity is not None
    subject = interaction.properties.get("action_id")
    row = history.settle(state, str(subject), interaction.name)
    decision = Decision(
        decision_id=_decision_id(interaction),
        event_id=interaction.event_id,
        profile_id=record.identity.profile_id,
        config=record.identity.config,
        decided_at=interaction.received_at,
    )
    return Ok(row, (Emit(topics.DECISIONS, record.identity.profile_id, decision),))


def _decision_id(interaction: Interaction) -> str:
    return decision_id(event_key(interaction.identifiers[0].key, interaction))


def _control(control: Control, row: ContactState) -> Outcome[ContactState]:
    if control.kind == "move":
        return _move(control, row)
    if control.kind == "arrive":
        return _arrive(control, row)
    if control.kind == "forget":
        return Ok(None)
    if control.kind == "probe" and control.request is not None:
        reply = Reply(control.request.request_id, None, None)
        return Forward((Emit(topics.REPLIES, control.request.gateway, reply),))
    return Drop(f"nothing to do on {control.kind}")


def _move(move: Control, row: ContactState) -> Ok[ContactState]:
    shards, leaving = row.shards.depart(move)
    sent = () if leaving is None else (_send(move, destination(move), leaving),)
    return Ok(ContactState(shards), sent)


def _arrive(arrive: Control, row: ContactState) -> Outcome[ContactState]:
    if arrive.state is None:
        return DeadLetter("empty-record", "state: an arrival must carry the shard")
    part = _history_from.decode(arrive.state)
    received = row.shards.receive(arrive, part, history.merge)
    if isinstance(received, Away):
        return Ok(row, (_send(arrive, received, part),))
    return Ok(ContactState(received))


def _send(cause: Control, to: Away, part: History) -> Emit:
    subject = f"decisioning/{cause.shard}/{to.version}"
    sent = arrival(
        cause, to, _history_bytes.encode(part), control_id(cause.control_id, "arrive", subject)
    )
    return Emit(topics.SEGMENTED, to.to_profile, Segmented(control=sent))
