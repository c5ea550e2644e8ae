"""Decisioning stage: one row per profile; every interaction gets one Decision, and another at the
end of quiet hours that deferred its messages.

A slot is a requested placement, or an outbound channel that a trigger opened. Placements are filled
first, in order.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace as with_fields
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from pipeline.conditions import Facts
from pipeline.config.compiled import Entry, LearningRules
from pipeline.decisioning import deferral, funds, history, holding, suppressions
from pipeline.decisioning.arbitrate import Arbitration, SlotWinner
from pipeline.decisioning.cancelling import CancellationCheck, cancel, needs_review
from pipeline.decisioning.deferral import DueDeferral
from pipeline.decisioning.eligibility import Moment, address
from pipeline.decisioning.history import CustomerHistory
from pipeline.decisioning.learning import feedback
from pipeline.decisioning.learning.withheld import (
    campaigns_in_window,
    mark_first_messages,
    withheld_contacts,
)
from pipeline.decisioning.lineup import Vacancy
from pipeline.decisioning.review import Review
from pipeline.decisioning.slots import SlotResults, Slots
from pipeline.decisioning.state import AwaitingAction, ContactState, Deferral, History
from pipeline.model import topics
from pipeline.model.belongings import apply_report, remove_identifier
from pipeline.model.budget import Purse
from pipeline.model.control import Control
from pipeline.model.decision import (
    Action,
    Answer,
    Contact,
    Decision,
    DeferralInput,
    DeferredMessage,
    Feedback,
    Reply,
    SlotChances,
)
from pipeline.model.ids import control_id, decision_id, event_key, later_decision_id
from pipeline.model.interaction import Interaction
from pipeline.model.outcome import DeadLetter, Drop, Emit, Forward, Ok, Outcome, RowTransition
from pipeline.model.shards import Away, Erasure, arrival, destination
from pipeline.model.stages import IdentitySection, ProfileSection, Segmented
from pipeline.rules import Rules
from pipeline.rules.chooser import Chooser
from pipeline.rules.token import Claims

_NO_CONTACTS: Final[tuple[Contact, ...]] = ()
_CHANCES: Final = "chances"
"""Name of a topic that no broker has: programs that play a log read its records."""

_history_bytes = msgspec.msgpack.Encoder()
_history_from = msgspec.msgpack.Decoder(History)
_erasure_from = msgspec.msgpack.Decoder(Erasure)


def step(
    key: str, record: Segmented, state: ContactState | None, rules: Rules
) -> Outcome[ContactState]:
    """Decide on `record`; `key`: the profile id, `state`: that profile's row, None for a new
    profile."""
    outcome = _step(key, record, state, rules)
    if isinstance(outcome, Ok) and outcome.state is not None:
        wake = deferral.next_wake(outcome.state)
        return outcome if wake is None else replace(outcome, wake=wake)
    return outcome


def _step(
    key: str, record: Segmented, state: ContactState | None, rules: Rules
) -> Outcome[ContactState]:
    if record.control is not None:
        if record.control.kind == "lease":
            return Ok(state, purses=funds.receive(rules.wallet or {}, record.control))
        return _process_control(key, record, record.control, state or ContactState(), rules)
    if record.interaction is None or record.identity is None or record.segments is None:
        return DeadLetter("empty-record", "neither a segmented interaction nor a control")
    if record.interaction.kind == "outcome":
        return _record_outcome(record, record.interaction, state or ContactState(), rules)
    return _decide(record, record.interaction, state or ContactState(), rules)


class _Case(Struct, frozen=True):
    """Input of a decision: the record, the history before it, and that history with the record's
    suppressions (`history`). `outbound`: entries that may be sent; `deferral_input`: set for a
    second decision on the record."""

    decision_id: str
    record: Segmented
    moment: Moment
    history_before: CustomerHistory
    history: CustomerHistory
    outbound: tuple[Entry, ...]
    deferral_input: DeferralInput | None = None

    @property
    def interaction(self) -> Interaction:
        """Interaction of the decision."""
        assert self.record.interaction is not None
        return self.record.interaction

    @property
    def identity(self) -> IdentitySection:
        """Identity of the customer."""
        return self.moment.identity

    @property
    def first_decision_id(self) -> str:
        """Id of the first decision on the interaction."""
        return self.decision_id if self.deferral_input is None else self.deferral_input.first


def _decide(
    record: Segmented, interaction: Interaction, state: ContactState, rules: Rules
) -> Ok[ContactState]:
    """Decide on an interaction, after cancelling the messages that it suppresses."""
    state = deferral.refresh(_update_clock(state, interaction, rules), record)
    moment = _moment(record, interaction, state, rules)
    suppression_times = suppressions.suppression_times(rules.config.constraints, moment.facts)
    cancellation = _cancel(moment, state, suppression_times, rules)
    state = cancellation.row
    history_before = history.customer_history(state)
    extended_history = history.extend(history_before, History(silenced=suppression_times))
    case = _Case(
        _decision_id(interaction),
        record,
        moment,
        history_before,
        extended_history,
        rules.config.outbound_entries,
    )
    result = _make_decision(case, state, History(silenced=suppression_times), rules)
    return replace(result, emits=(*result.emits, *cancellation.emits))


def decide_again(due_deferral: DueDeferral, state: ContactState, rules: Rules) -> Ok[ContactState]:
    """Decide on deferred messages by the present facts and history.

    `state` is the row without the deferral.
    """
    record = due_deferral.deferral.record
    assert record.interaction is not None
    moment = _moment(record, record.interaction, state, rules)
    facts = replace(moment.facts, now_ms=due_deferral.at)
    customer_history = history.customer_history(state)
    case = _Case(
        decision_id=later_decision_id(due_deferral.deferral.first, due_deferral.at),
        record=record,
        moment=replace(moment, facts=facts, is_stale=False, since_ms=due_deferral.deferral.since),
        history_before=customer_history,
        history=customer_history,
        outbound=deferral.entries(due_deferral.deferral.messages, rules.config.outbound_entries),
        deferral_input=deferral.deferral_input(due_deferral.deferral),
    )
    return _make_decision(case, state, History(), rules)


def _make_decision(
    case: _Case, state: ContactState, additions: History, rules: Rules
) -> Ok[ContactState]:
    """Make a decision; add it and `additions` to the history."""
    results = _fill_slots(case, rules)
    arbitration = results.filled_slots.arbitration
    actions, waiting_actions = _divide(arbitration, case.moment, rules)
    decision = _decision(case, results, rules)
    contacts, held_out_contacts = tuple(arbitration.contacts), _NO_CONTACTS
    if rules.chooser is not None:
        learning = rules.chooser.rules
        if not feedback.is_of_bot(case.moment.facts):
            open_campaigns = campaigns_in_window(
                case.history.contacts, case.moment.now_ms, learning
            )
            contacts = mark_first_messages(contacts, open_campaigns, learning)
            held_out_contacts = withheld_contacts(decision, open_campaigns, learning)
        pairs = zip(contacts, arbitration.wins, strict=True)
        evidence = _feedback(case, pairs, waiting_actions, learning)
        decision = replace(
            decision,
            snapshot=rules.chooser.snapshot,
            feedback=(*evidence, *feedback.held_out_feedback(held_out_contacts, learning)),
        )
    if rules.wallet is not None:
        spends = holding.limit_spends(arbitration.spends, waiting_actions)
        decision = replace(decision, budgets=results.budget_reads, spends=spends)
    contacts = (*holding.limit_contacts(contacts, waiting_actions), *held_out_contacts)
    additions = replace(
        additions, contacts=contacts, holdouts=results.new_draws, awaiting=waiting_actions
    )
    if decision.deferred:
        state = deferral.drop_campaigns(state, decision.deferred)
        additions = replace(additions, deferred=_deferrals(case, state, decision.deferred))
    row = history.add(
        state, case.identity.shard, additions, case.moment.now_ms, _retention_ms(rules)
    )
    emits = _emits(case, decision, actions)
    if rules.with_chances:
        chances = SlotChances(case.decision_id, arbitration.chances)
        emits = (Emit(_CHANCES, case.identity.profile_id, chances), *emits)
    return Ok(row, emits, purses=funds.pay(rules.wallet or {}, arbitration.spends))


def _fill_slots(case: _Case, rules: Rules) -> SlotResults:
    context_bin = "" if rules.chooser is None else rules.chooser.rules.bin_of(case.moment.facts)
    slots = Slots(case.decision_id, case.moment, case.history, rules, context_bin)
    return slots.fill(_vacancies(case, rules))


def _decision(case: _Case, results: SlotResults, rules: Rules) -> Decision:
    """Return the decision without its evidence and spending."""
    filled_slots, holdouts = results.filled_slots, {**case.history.holdouts, **results.new_draws}
    return Decision(
        decision_id=case.decision_id,
        event_id=case.interaction.event_id,
        profile_id=case.identity.profile_id,
        config=case.identity.config,
        decided_at=case.moment.now_ms,
        choices=filled_slots.choices,
        candidates=filled_slots.candidates,
        rejected={rule: tuple(names) for rule, names in sorted(results.lineups.rejections.items())},
        contacts=case.history_before.contacts,
        silenced=case.history.suppression_times,
        holdouts=tuple(holdout for _, holdout in sorted(holdouts.items())),
        model=rules.propensities.label if rules.propensities and filled_slots.candidates else None,
        arm=results.arm,
        bin=results.context_bin,
        deferred=deferral.deferred_messages(filled_slots, case.outbound),
        again=case.deferral_input,
    )


def _emits(case: _Case, decision: Decision, actions: list[Action]) -> tuple[Emit, ...]:
    """Return the outputs: the decision, the actions, and the answer to a request."""
    profile_id = case.identity.profile_id
    action_emits = [Emit(topics.actions(action.channel), profile_id, action) for action in actions]
    return (Emit(topics.DECISIONS, profile_id, decision), *action_emits, *_answer(case, actions))


def _deferrals(
    case: _Case, state: ContactState, messages: tuple[DeferredMessage, ...]
) -> tuple[Deferral, ...]:
    undivided_deferral = Deferral(
        case.first_decision_id, case.moment.since_ms, 0, messages, case.record, state.by_log
    )
    return deferral.split_by_time(undivided_deferral)


def _retention_ms(rules: Rules) -> int:
    return rules.config.constraints.retention_ms


def _update_clock(state: ContactState, interaction: Interaction, rules: Rules) -> ContactState:
    """Return the state with the interaction's clock; one of kind `timer` does not change the
    clock."""
    by_log = interaction.source in rules.config.log_sources
    if interaction.kind == "timer" or by_log is state.by_log:
        return state
    return replace(state, by_log=by_log)


def _cancel(
    moment: Moment, state: ContactState, suppression_times: dict[str, int], rules: Rules
) -> RowTransition[ContactState]:
    """Cancel waiting messages that `suppression_times` or an outcome suppresses, or that newer
    facts rule out."""
    interaction, config = moment.facts.interaction, rules.config
    assert interaction is not None
    may_suppress = suppression_times or (
        interaction.kind == "outcome" and config.constraints.outcome_suppressions
    )
    if not may_suppress and not needs_review(state, config, moment.now_ms):
        return RowTransition(state)
    extended_history = history.extend(
        history.customer_history(state), History(silenced=suppression_times)
    )
    review = Review.of(config, moment.facts, not state.by_log)
    return cancel(moment.identity.profile_id, state, CancellationCheck.of(extended_history, review))


def _feedback(
    case: _Case,
    pairs: Iterable[tuple[Contact, SlotWinner]],
    waiting_actions: tuple[AwaitingAction, ...],
    rules: LearningRules,
) -> tuple[Feedback, ...]:
    """Return the feedback of an interaction, unless it is decided again, and of its actions."""
    facts = case.moment.facts
    if feedback.is_of_bot(facts):
        return ()
    contacts = case.history_before.contacts if case.deferral_input is None else ()
    goals = feedback.goal_feedback(case.interaction, contacts, rules, facts)
    held_ids = {waiting_action.action.action_id for waiting_action in waiting_actions}
    deliveries = (
        feedback_item
        for contact, winner in pairs
        for feedback_item in feedback.action_feedback(
            contact, winner.candidate, rules, winner.action_id in held_ids
        )
    )
    return (*goals, *deliveries)


def _divide(
    arbitration: Arbitration, moment: Moment, rules: Rules
) -> tuple[list[Action], tuple[AwaitingAction, ...]]:
    """Divide the actions into those sent now and those that wait for confirmed addresses."""
    actions: list[Action] = []
    waiting_actions: list[AwaitingAction] = []
    for win in arbitration.wins:
        action = _action(win, moment, arbitration.decision_id, rules)
        waiting_action = holding.hold(action, win.candidate, moment)
        if waiting_action is None:
            actions.append(action)
        else:
            waiting_actions.append(waiting_action)
    return actions, tuple(waiting_actions)


def _vacancies(case: _Case, rules: Rules) -> Iterator[Vacancy]:
    """Yield the requested placements, in order, and the outbound vacancy."""
    request = case.interaction.request
    for placement in dict.fromkeys(request.placements if request is not None else ()):
        entries = rules.config.placement_entries.get(placement, ())
        limit = 1 if request is None else request.limits.get(placement, 1)
        yield Vacancy(placement, entries, _channel_of(entries, case.interaction), limit)
    yield Vacancy(None, case.outbound)


def _channel_of(entries: tuple[Entry, ...], interaction: Interaction) -> str:
    return entries[0].candidates[0].channel if entries else interaction.channel


def _action(win: SlotWinner, moment: Moment, decision: str, rules: Rules) -> Action:
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
        deadline_at=win.deadline_at,
        token=rules.token_key.sign(claims),
    )


def _answer(case: _Case, actions: list[Action]) -> tuple[Emit, ...]:
    request = case.interaction.request
    if request is None:
        return ()
    answers = tuple(
        _placement_answer(name, [action for action in actions if action.placement == name])
        for name in request.placements
    )
    event = case.interaction.event_id
    reply = Reply(request.request_id, case.decision_id, event, answers)
    return (Emit(topics.REPLIES, request.gateway, reply),)


def _placement_answer(name: str, actions: list[Action]) -> Answer:
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
        derived_values=profile.derived,
        segments=frozenset(record.segments.members),
        entered_segments=frozenset(record.segments.entered),
        now_ms=interaction.received_at,
    )
    age = interaction.received_at - interaction.occurred_at
    return Moment(
        facts=facts,
        identity=record.identity,
        is_stale=age > rules.max_action_age_ms,
        shown_times=profile.shown,
        belongings=state.belongings,
        since_ms=interaction.received_at,
    )


def _record_outcome(
    record: Segmented, interaction: Interaction, state: ContactState, rules: Rules
) -> Ok[ContactState]:
    """Record the outcome of an action in a Decision without choices; nothing is sent."""
    assert record.identity is not None
    action_id = str(interaction.properties.get("action_id"))
    time_ms = min(interaction.occurred_at, interaction.received_at)
    row = deferral.refresh(
        history.apply_outcome(state, action_id, interaction.name, time_ms), record
    )
    moment = _moment(record, interaction, state, rules)
    facts = moment.facts
    suppression_times = suppressions.suppression_times(rules.config.constraints, facts)
    cancellation = _cancel(moment, row, suppression_times, rules)
    additions = History(silenced=suppression_times)
    row = history.add(
        cancellation.row, record.identity.shard, additions, facts.now_ms, _retention_ms(rules)
    )
    decision = Decision(
        decision_id=_decision_id(interaction),
        event_id=interaction.event_id,
        profile_id=record.identity.profile_id,
        config=record.identity.config,
        decided_at=interaction.received_at,
        silenced=suppression_times,
    )
    if rules.wallet is not None:
        decision = replace(decision, spends=funds.spends_of_outcome(action_id, interaction.name))
    if rules.chooser is not None:
        decision = _add_feedback(decision, action_id, state, facts, rules.chooser)
    decision_emit = Emit(topics.DECISIONS, record.identity.profile_id, decision)
    return Ok(row, (decision_emit, *cancellation.emits))


def _add_feedback(
    decision: Decision, action_id: str, state: ContactState, facts: Facts, chooser: Chooser
) -> Decision:
    """Return the decision on an outcome with its contact and feedback."""
    contact = next(
        (
            contact
            for contact in history.customer_history(state).contacts
            if contact.action_id == action_id
        ),
        None,
    )
    if contact is None:
        return decision
    assert facts.interaction is not None
    evidence: Iterable[Feedback] = ()
    if not feedback.is_of_bot(facts):
        evidence = feedback.outcome_feedback(facts.interaction, contact, chooser.rules, facts)
    return replace(
        decision, snapshot=chooser.snapshot, contacts=(contact,), feedback=tuple(evidence)
    )


def _decision_id(interaction: Interaction) -> str:
    return decision_id(event_key(interaction.identifiers[0].key, interaction))


def _process_control(
    key: str, record: Segmented, control: Control, row: ContactState, rules: Rules
) -> Outcome[ContactState]:
    if control.kind == "move":
        return _move(control, row)
    if control.kind == "arrive":
        return _arrive(key, control, row, rules)
    if control.kind == "forget":
        return Ok(None)
    if control.kind in ("join", "leave"):
        return _record_belonging(key, control, row)
    if control.kind == "erase":
        return _erase(control, row)
    if control.kind == "probe" and control.request is not None:
        reply = Reply(control.request.request_id, None, None)
        return Forward((Emit(topics.REPLIES, control.request.gateway, reply),))
    if control.kind == "refresh" and needs_review(row, rules.config, control.at):
        return _review(key, control, record, deferral.refresh(row, record), rules)
    if control.kind == "refresh" and deferral.has_deferrals(row):
        return Ok(deferral.refresh(row, record))
    if control.kind == "timer" and deferral.has_deferrals(row):
        return _fire(key, control, row, rules)
    return Drop(f"nothing to do on {control.kind}")


def _review(
    key: str, control: Control, record: Segmented, row: ContactState, rules: Rules
) -> Ok[ContactState]:
    """Cancel the waiting messages that the customer's newest facts rule out."""
    if record.profile is None or record.segments is None:
        return Ok(row)
    members = frozenset(record.segments.members)
    facts = Facts(None, record.profile.traits, members, frozenset(), control.at)
    check = CancellationCheck.of(
        history.customer_history(row), Review.of(rules.config, facts, not row.by_log)
    )
    return cancel(key, row, check).outcome()


def _fire(key: str, timer: Control, row: ContactState, rules: Rules) -> Ok[ContactState]:
    """Decide again on all deferrals that are due."""
    emits: tuple[Emit, ...] = ()
    purses: dict[str, Purse] = {}
    for due_deferral in deferral.due_deferrals(row, timer):
        current_rules = rules
        if rules.wallet is not None:
            current_rules = with_fields(rules, wallet={**rules.wallet, **purses})
        result = decide_again(
            due_deferral.of(key, rules.config.digest),
            deferral.drop(row, due_deferral.deferral),
            current_rules,
        )
        assert result.state is not None
        row, emits = result.state, (*emits, *result.emits)
        purses.update(result.purses)
    return Ok(row, emits, purses=purses)


def _record_belonging(key: str, change: Control, row: ContactState) -> Ok[ContactState]:
    """Record whether an identifier belongs to the customer; send or withdraw waiting actions."""
    row = replace(row, belongings=apply_report(row.belongings, change))
    if change.version < 0:
        row = holding.deny(row, change.identifier, change.until)
    return holding.confirm(key, row, change.at).outcome()


def _erase(erase: Control, row: ContactState) -> Outcome[ContactState]:
    if erase.state is None:
        return DeadLetter("empty-record", "state: an erase must name the shards to forget")
    erasure = _erasure_from.decode(erase.state)
    row = replace(row, shards=row.shards.without(erasure.shards))
    row = deferral.drop_identifier(row, erase.identifier)
    row = holding.deny(row, erase.identifier, None)
    row = holding.withdraw(row, lambda _: True, erasure.anonymous)
    if not erasure.shown_only:
        row = replace(row, belongings=remove_identifier(row.belongings, erase.identifier))
    return Ok(None if row == ContactState() else row)


def _move(move: Control, row: ContactState) -> Ok[ContactState]:
    departure = row.shards.depart(move)
    row = replace(row, shards=departure.shards)
    if departure.part is None:
        return Ok(row)
    return Ok(row, (_send_shard(move, destination(move), departure.part),))


def _arrive(key: str, arrive: Control, row: ContactState, rules: Rules) -> Outcome[ContactState]:
    """Take in a shard; suppressions of either side cancel waiting messages of the other."""
    if arrive.state is None:
        return DeadLetter("empty-record", "state: an arrival must carry the shard")
    part = _history_from.decode(arrive.state)
    shards = row.shards.receive(arrive, part, history.merge)
    if isinstance(shards, Away):
        return Ok(row, (_send_shard(arrive, shards, part),))
    row = replace(row, shards=shards)
    review = Review(rules.config, None, arrive.at, not row.by_log)
    check = CancellationCheck.of(history.customer_history(row), review)
    cancellation = cancel(key, row, check)
    confirmation = holding.confirm(key, cancellation.row, arrive.at)
    return Ok(confirmation.row, (*confirmation.emits, *cancellation.emits))


def _send_shard(cause: Control, target: Away, part: History) -> Emit:
    subject = f"decisioning/{cause.shard}/{target.version}"
    arrive = arrival(
        cause, target, _history_bytes.encode(part), control_id(cause.control_id, "arrive", subject)
    )
    return Emit(topics.SEGMENTED, target.to_profile, Segmented(control=arrive))
