"""Feedback: evidence about actions from an interaction."""

from collections.abc import Iterable, Iterator
from typing import Final

from pipeline.conditions import Facts
from pipeline.config.compiled import CompiledCandidate, GoalRule, LearningRules
from pipeline.config.derived import BOT
from pipeline.decisioning.history import RELEASING_OUTCOMES, STATUS_BY_OUTCOME
from pipeline.model.decision import Contact, Feedback
from pipeline.model.interaction import Interaction

_CONVERSION: Final = "conversion"


def is_of_bot(facts: Facts) -> bool:
    """Return whether a bot caused the interaction, from which nothing is learned then."""
    return facts.derived_values.get(BOT) is True


def action_feedback(
    contact: Contact, candidate: CompiledCandidate, rules: LearningRules, may_be_withheld: bool
) -> Iterator[Feedback]:
    """Yield the feedback of sending an action; `may_be_withheld`: the action may yet
    be withheld.

    If learning is incremental, the first message of a window is a trial whether it is shown or not,
    like that of a customer who is held out.
    """
    goal = None if candidate.transactional else rules.goals.get(candidate.campaign)
    if goal is None:
        return
    window_end_ms = contact.at + goal.window_ms
    if contact.campaign not in rules.incremental_campaigns:
        is_unsure = may_be_withheld or candidate.confirm_ms is not None
        yield Feedback(contact.action_id, "waits" if is_unsure else "tried", window_end_ms)
    elif contact.first:
        yield Feedback(contact.action_id, "tried", window_end_ms)


def held_out_feedback(contacts: Iterable[Contact], rules: LearningRules) -> Iterator[Feedback]:
    """Yield the feedback of held-out messages: each is a trial without a message."""
    for contact in contacts:
        yield Feedback(
            contact.action_id, "tried", contact.at + rules.goals[contact.campaign].window_ms
        )


def goal_feedback(
    interaction: Interaction, contacts: Iterable[Contact], rules: LearningRules, facts: Facts
) -> Iterator[Feedback]:
    """Yield the feedback of actions whose goal an interaction, which is not an outcome, reaches.

    A goal counts for all earlier messages of its campaign whose window is not over.
    """
    goals = {name: goal for name, goal in rules.goals.items() if _fits(goal, facts)}
    if not goals:
        return
    time_ms = _moment(interaction)
    for contact in contacts:
        goal = goals.get(contact.campaign)
        if goal is not None and time_ms > contact.at and _counts(contact, time_ms, goal, rules):
            yield Feedback(contact.action_id, "reached", contact.at + goal.window_ms)


def outcome_feedback(
    interaction: Interaction, contact: Contact, rules: LearningRules, facts: Facts
) -> Iterator[Feedback]:
    """Yield the feedback of an outcome of the action `contact`.

    If learning is incremental, a `conversion` must fit the goal's `when`: held-out customers have
    no action of which a receiver could report one.
    """
    goal = rules.goals.get(contact.campaign)
    if goal is None:
        return
    window_end_ms, time_ms, name = (
        contact.at + goal.window_ms,
        _moment(interaction),
        interaction.name,
    )
    is_incremental = contact.campaign in rules.incremental_campaigns
    if not is_incremental and name in RELEASING_OUTCOMES:
        yield Feedback(contact.action_id, "released", window_end_ms)
    elif not is_incremental and name in STATUS_BY_OUTCOME:
        yield Feedback(contact.action_id, "shown", window_end_ms)
    converts = name == _CONVERSION and not is_incremental
    if (converts or _fits(goal, facts)) and _counts(contact, time_ms, goal, rules):
        yield Feedback(contact.action_id, "reached", window_end_ms)


def _fits(goal: GoalRule, facts: Facts) -> bool:
    names, interaction = goal.condition.names, facts.interaction
    if interaction is None or (names is not None and interaction.name not in names):
        return False
    return goal.condition.test(facts)


def _moment(interaction: Interaction) -> int:
    return min(interaction.occurred_at, interaction.received_at)


def _counts(contact: Contact, time_ms: int, goal: GoalRule, rules: LearningRules) -> bool:
    """Return whether a goal at `time_ms` is in the window, and not caused by a mail scanner."""
    if not contact.at <= time_ms <= contact.at + goal.window_ms:
        return False
    return contact.channel not in rules.scanner_channels or time_ms >= contact.at + rules.scanner_ms
