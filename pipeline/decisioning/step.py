"""The decisioning stage: one row per profile; every interaction gets exactly one Decision.

A slot is a placement that asked, or an outbound channel that a trigger opened. Placements are
filled in their order, then what is sent.
"""

from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from pipeline.conditions import Facts
from pipeline.config.compiled import Entry, LearningRules
from pipeline.decisioning import history, holding, suppressions
from pipeline.decisioning.arbitrate import Arbitration, Win
from pipeline.decisioning.constraints import Standing
from pipeline.decisioning.drawing import Drawing
from pipeline.decisioning.eligibility import Moment, address
from pipeline.decisioning.history import Remembered
from pipeline.decisioning.impact import arm_of, field_maker
from pipeline.decisioning.learning import feedback
from pipeline.decisioning.state import AwaitingAction, ContactState, History
from pipeline.model import topics
from pipeline.model.belongings import apply_report, without
from pipeline.model.control import Control
from pipeline.model.decision import Action, Answer, Decision, Feedback, Reply
from pipeline.model.ids import control_id, decision_id, event_key
from pipeline.model.interaction import Interaction
from pipeline.model.outcome import DeadLetter, Drop, Emit, Forward, Ok, Outcome
from pipeline.model.shards import Away, Erasure, arrival, destination
from pipeline.model.stages import ProfileSection, Segmented
from pipeline.rules import Rules
from pipeline.rules.chooser import Chooser
from pipeline.rules.token import Claims

_history_bytes = msgspec.msgpack.Encoder()
_history_from = msgspec.msgpack.Decoder(History)
_erasure_from = msgspec.msgpack.Decoder(Erasure)


def step(
    key: str, record: Segmented, state: ContactState | None, rules: Rules
) -> Outcome[ContactState]:
    """Decide; `key` is the profile id, `state` that profile's row, or None at first sight."""
    if record.control is not None:
        return _control(key, record.control, state or ContactState())
    if record.interaction is None or record.identity is None or record.segments is None:
        return DeadLetter("empty-record", "neither a segmented interaction nor a control")
    if record.interaction.kind == "outcome":
        return _outcome(record, record.interaction, state or ContactState(), rules)
    return _decide(record, record.interaction, state or ContactState(), rules)


def _decide(
    record: Segmented, interaction: Interaction, state: ContactState, rules: Rules
) -> Ok[ContactState]:
    assert record.identity is not None
    moment = _moment(record, interaction, state, rules)
    silenced = suppressions.caused_by(rules.config.constraints, moment.facts)
    before = history.recall(state)
    known = history.remember(before, History(silenced=silenced))
    chooser = rules.chooser
    context_bin = "" if chooser is None else chooser.rules.bin_of(moment.facts)
    made = _arbitrate(interaction, moment, known, rules, context_bin)
    actions, waiting = _divide(made, moment, rules)
    new = History(tuple(made.contacts), silenced, made.drawn, waiting)
    decision = Decision(
        decision_id=made.decision_id,
        event_id=interaction.event_id,
        profile_id=record.identity.profile_id,
        config=record.identity.config,
        decided_at=interaction.received_at,
        choices=tuple(made.choices),
        candidates=tuple(made.judged),
        rejected={rule: tuple(names) for rule, names in sorted(made.rejected.items())},
        contacts=before.contacts,
        silenced=known.silenced,
        holdouts=tuple(one for _, one in sorted({**known.holdouts, **made.drawn}.items())),
        model=rules.propensities.label if rules.propensities and made.judged else None,
        arm=made.arm,
    )
    if chooser is not None:
        decision = replace(
            decision,
            snapshot=chooser.snapshot,
            bin=context_bin,
            feedback=_feedback(moment, before, made, waiting, chooser.rules),
        )
    row = _remember(state, record, new, rules)
    profile = record.identity.profile_id
    sent = [Emit(topics.actions(one.channel), profile, one) for one in actions]
    answered = _answer(interaction, made.decision_id, actions)
    return Ok(row, (Emit(topics.DECISIONS, profile, decision), *sent, *answered))


def _feedback(
    moment: Moment,
    before: Remembered,
    made: Arbitration,
    waiting: tuple[AwaitingAction, ...],
    rules: LearningRules,
) -> tuple[Feedback, ...]:
    """Return the feedback of an interaction and its actions, to learn from."""
    facts = moment.facts
    assert facts.interaction is not None
    if feedback.is_bots(facts):
        return ()
    reached = feedback.of_interaction(facts.interaction, before.contacts, rules, facts)
    held = {one.action.action_id for one in waiting}
    sent = (
        each
        for one in made.wins
        for each in feedback.of_action(
            one.action_id, one.candidate, moment.now_ms, rules, one.action_id in held
        )
    )
    return (*reached, *sent)


def _divide(
    made: Arbitration, moment: Moment, rules: Rules
) -> tuple[list[Action], tuple[AwaitingAction, ...]]:
    """Divide the actions into those sent now and those that wait for their address."""
    actions: list[Action] = []
    waiting: list[AwaitingAction] = []
    for win in made.wins:
        action = _action(win, moment, made.decision_id, rules)
        waits = holding.hold(action, win.candidate.address, moment)
        if waits is None:
            actions.append(action)
        else:
            waiting.append(waits)
    return actions, tuple(waiting)


def _arbitrate(
    interaction: Interaction, moment: Moment, known: Remembered, rules: Rules, context_bin: str
) -> Arbitration:
    config = rules.config
    standing = Standing.of(config.constraints, moment.facts, known)
    arm = arm_of(config.bundle.policies.impact_tests, moment.identity.profile_id)
    made = Arbitration(_decision_id(interaction), moment, known, rules, standing, arm)
    chooser = field_maker(arm, rules.chooser)
    filling = made if chooser is None else Drawing(made, chooser, context_bin)
    request = interaction.request
    for placement in dict.fromkeys(request.placements if request is not None else ()):
        entries = config.by_placement.get(placement, ())
        limit = 1 if request is None else request.limits.get(placement, 1)
        filling.answer(placement, entries, _channel_of(entries, interaction), limit)
    filling.send(config.outbound)
    return made


def _channel_of(entries: tuple[Entry, ...], interaction: Interaction) -> str:
    return entries[0].candidates[0].channel if entries else interaction.channel


def _remember(state: ContactState, record: Segmented, new: History, rules: Rules) -> ContactState:
    assert record.identity is not None
    assert record.interaction is not None
    keep_ms = rules.config.constraints.longest_ms
    now_ms = record.interaction.received_at
    return history.add(state, record.identity.shard, new, now_ms, keep_ms)


def _action(win: Win, moment: Moment, decision: str, rules: Rules) -> Action:
    interaction, winner = moment.facts.interaction, win.candidate
    assert interaction is not None
    identifier = interaction.identifiers[0]
    claims = Claims(
        action_id=win.action_id,
        decision_id=decision,
        identifier=identifier,
        channel=winner.channel,
        campaign=winner.campaign,
        offer=winner.offer,
        treatment=winner.treatment,
        at=moment.now_ms,
    )
    return Action(
        action_id=win.action_id,
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
        content=win.content,
        created_at=moment.now_ms,
        deadline_at=moment.now_ms + winner.deadline_ms,
        token=rules.token_key.sign(claims),
    )


def _answer(interaction: Interaction, decision: str, actions: list[Action]) -> tuple[Emit, ...]:
    request = interaction.request
    if request is None:
        return ()
    answers = tuple(
        _in_placement(name, [one for one in actions if one.placement == name])
        for name in request.placements
    )
    reply = Reply(request.request_id, decision, interaction.event_id, answers)
    return (Emit(topics.REPLIES, request.gateway, reply),)


def _in_placement(name: str, actions: list[Action]) -> Answer:
    return Answer(name, actions[0], tuple(actions[1:])) if actions else Answer(name)


def _moment(
    record: Segmented, interaction: Interaction, state: ContactState, rules: Rules
) -> Moment:
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
    return Moment(
        facts=facts,
        identity=record.identity,
        stale=age > rules.max_action_age_ms,
        shown=profile.shown,
        belongings=state.belongings,
    )


def _outcome(
    record: Segmented, interaction: Interaction, state: ContactState, rules: Rules
) -> Ok[ContactState]:
    """Record the outcome of an action, in a Decision without choices: nothing is sent."""
    assert record.identity is not None
    subject = interaction.properties.get("action_id")
    at = min(interaction.occurred_at, interaction.received_at)
    row = history.settle(state, str(subject), interaction.name, at)
    facts = _moment(record, interaction, state, rules).facts
    silenced = suppressions.caused_by(rules.config.constraints, facts)
    row = _remember(row, record, History(silenced=silenced), rules)
    decision = Decision(
        decision_id=_decision_id(interaction),
        event_id=interaction.event_id,
        profile_id=record.identity.profile_id,
        config=record.identity.config,
        decided_at=interaction.received_at,
        silenced=silenced,
    )
    if rules.chooser is not None:
        decision = _add_feedback(decision, str(subject), state, facts, rules.chooser)
    return Ok(row, (Emit(topics.DECISIONS, record.identity.profile_id, decision),))


def _add_feedback(
    decision: Decision, action_id: str, state: ContactState, facts: Facts, chooser: Chooser
) -> Decision:
    """Return the decision on an outcome with its contact and feedback to learn from."""
    contact = next((c for c in history.recall(state).contacts if c.action_id == action_id), None)
    if contact is None:
        return decision
    assert facts.interaction is not None
    told: Iterable[Feedback] = ()
    if not feedback.is_bots(facts):
        told = feedback.of_outcome(facts.interaction, contact, chooser.rules, facts)
    return replace(decision, snapshot=chooser.snapshot, contacts=(contact,), feedback=tuple(told))


def _decision_id(interaction: Interaction) -> str:
    return decision_id(event_key(interaction.identifiers[0].key, interaction))


def _control(key: str, control: Control, row: ContactState) -> Outcome[ContactState]:
    if control.kind == "move":
        return _move(control, row)
    if control.kind == "arrive":
        return _arrive(key, control, row)
    if control.kind == "forget":
        return Ok(None)
    if control.kind in ("join", "leave"):
        return _belongs(key, control, row)
    if control.kind == "erase":
        return _erase(control, row)
    if control.kind == "probe" and control.request is not None:
        reply = Reply(control.request.request_id, None, None)
        return Forward((Emit(topics.REPLIES, control.request.gateway, reply),))
    return Drop(f"nothing to do on {control.kind}")


def _belongs(key: str, change: Control, row: ContactState) -> Ok[ContactState]:
    """Note that an identifier is the customer's or is not; send or withdraw waiting actions."""
    row = replace(row, belongings=apply_report(row.belongings, change))
    if change.version < 0:
        row = holding.deny(row, change.identifier, change.until)
    return Ok(*_confirm(key, row, change))


def _confirm(
    key: str, row: ContactState, control: Control
) -> tuple[ContactState, tuple[Emit, ...]]:
    """Send the actions that waited; they may have come here with their shard."""
    row, actions = holding.confirm(row, control.at)
    mine = (replace(one, profile_id=key) for one in actions)
    return row, tuple(Emit(topics.actions(one.channel), key, one) for one in mine)


def _erase(erase: Control, row: ContactState) -> Outcome[ContactState]:
    if erase.state is None:
        return DeadLetter("empty-record", "state: an erase must say what is forgotten")
    erasure = _erasure_from.decode(erase.state)
    row = replace(row, shards=row.shards.without(erasure.shards))
    row = holding.deny(row, erase.identifier, None)
    if not erasure.shown_only:
        row = replace(row, belongings=without(row.belongings, erase.identifier))
    return Ok(None if row == ContactState() else row)


def _move(move: Control, row: ContactState) -> Ok[ContactState]:
    shards, leaving = row.shards.depart(move)
    sent = () if leaving is None else (_send(move, destination(move), leaving),)
    return Ok(replace(row, shards=shards), sent)


def _arrive(key: str, arrive: Control, row: ContactState) -> Outcome[ContactState]:
    if arrive.state is None:
        return DeadLetter("empty-record", "state: an arrival must carry the shard")
    part = _history_from.decode(arrive.state)
    received = row.shards.receive(arrive, part, history.merge)
    if isinstance(received, Away):
        return Ok(row, (_send(arrive, received, part),))
    return Ok(*_confirm(key, replace(row, shards=received), arrive))


def _send(cause: Control, to: Away, part: History) -> Emit:
    subject = f"decisioning/{cause.shard}/{to.version}"
    sent = arrival(
        cause, to, _history_bytes.encode(part), control_id(cause.control_id, "arrive", subject)
    )
    return Emit(topics.SEGMENTED, to.to_profile, Segmented(control=sent))
